// Sends one of each call with the public Segment Node client to the URL given, for TestSegmentNodeSession to record:
//   npm ci && go test ./stages/ingest -run TestSegmentNodeSession -record
import { Analytics } from '@segment/analytics-node'

const host = process.argv[2]
if (!host) {
  console.error('usage: node record.mjs http://127.0.0.1:PORT')
  process.exit(2)
}

const analytics = new Analytics({ writeKey: 'dev', host, flushAt: 4, maxRetries: 0 })
const failures = []
analytics.on('error', (err) => failures.push(err))
const sent = (call) => new Promise((resolve, reject) => call((err) => (err ? reject(err) : resolve())))

const user = { userId: 'u-1', anonymousId: 'a-1' }
const calls = [
  (done) => analytics.identify({
    ...user,
    traits: { email: 'ada@example.com', firstName: 'Ada', plan: 'gold', logins: 3, vip: true, address: { city: 'Zürich', postalCode: '8001' } },
  }, done),
  (done) => analytics.page({ anonymousId: 'a-1', category: 'Docs', name: 'Home', properties: { url: 'https://shop.example/?q=a%20b', referrer: null } }, done),
  (done) => analytics.track({ anonymousId: 'a-1', event: 'Product Viewed', properties: { product_id: 'sku-42', category: 'sneakers', price: 89.5 } }, done),
  (done) => analytics.track({
    ...user,
    event: 'Order Completed',
    timestamp: new Date('2026-11-23T10:15:00.250Z'),
    properties: {
      order_id: 'o-7', revenue: 119, currency: 'EUR', coupon: null, gift: false, note: 'line one\nline "two" \u2028 \u{1F45F}',
      products: [{ product_id: 'sku-42', price: 89.5, quantity: 1 }, { product_id: 'sku-7', price: 14.75, quantity: 2, tags: ['socks', 'wool'] }],
      shipping: { method: { name: 'post', days: [1, 2] } },
    },
    context: { ip: '203.0.113.9', timezone: 'Europe/Zurich', campaign: { name: 'spring', source: 'mail' }, consent: { categoryPreferences: { email: true } } },
    integrations: { All: true, Mixpanel: false },
  }, done),
  (done) => analytics.track({ userId: 'u-1', event: 'Empty' }, done),
  (done) => analytics.track({ userId: 'u-2', event: 'Own id', messageId: 'my-own-message-id', properties: { when: new Date(0), big: 12345678901234 } }, done),
  (done) => analytics.screen({ userId: 'u-2', name: 'Cart', properties: { items: 2 } }, done),
  (done) => analytics.group({ userId: 'u-1', groupId: 'g-1', traits: { name: 'Engines Ltd', employees: 12 } }, done),
  (done) => analytics.alias({ userId: 'u-1', previousId: 'a-1' }, done),
]
await Promise.all([...calls.map(sent), analytics.closeAndFlush({ timeout: 10000 })])
if (failures.length > 0) {
  console.error('the client reported errors:', failures)
  process.exit(1)
}
