package mapping

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"testing"
	"time"
)

func signed(secret, text string, encode func([]byte) string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return encode(mac.Sum(nil))
}

func TestAuthentication(t *testing.T) {
	const body = "{\"a\": 1}\n\xff"
	shopify := signed("hush", body, base64.StdEncoding.EncodeToString)
	now := time.Unix(1614265330, 0)
	// The vector of the Standard Webhooks reference libraries.
	const standard, standardBody = "{hmac: {header: webhook-signature, prefix: \"v1,\", signed: \"{webhook-id}.{webhook-timestamp}.{body}\", timestamp: webhook-timestamp}}", `{"test": 2432232314}`
	webhook := func(timestamp, signature string) http.Header {
		return http.Header{"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
	}
	const right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	for _, c := range []struct {
		name, authenticate string
		header             http.Header
		query              url.Values
		body               string
		secrets            []Secret
		want               bool
	}{
		{"shopify", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {shopify}}, nil, body, []Secret{"hush"}, true},
		{"shopify, the secret before", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {shopify}}, nil, body, []Secret{"new", "hush"}, true},
		{"shopify, another secret", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {shopify}}, nil, body, []Secret{"hush2"}, false},
		{"shopify, one byte of the body", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {shopify}}, nil, body[:len(body)-1] + "\xfe", []Secret{"hush"}, false},
		{"shopify, no signature", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{}, nil, body, []Secret{"hush"}, false},
		{"shopify, an empty one", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {""}}, nil, body, []Secret{"hush"}, false},
		{"shopify, garbage", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {"%%%"}}, nil, body, []Secret{"hush"}, false},
		{"no secret at all", "{hmac: {header: X-Shopify-Hmac-Sha256}}", http.Header{"X-Shopify-Hmac-Sha256": {signed("", body, base64.StdEncoding.EncodeToString)}}, nil, body, []Secret{""}, false},
		{"github", "{hmac: {header: X-Hub-Signature-256, prefix: sha256=, encoding: hex}}", http.Header{"X-Hub-Signature-256": {"sha256=" + signed("s", body, hex.EncodeToString)}}, nil, body, []Secret{"s"}, true},
		{"github without its prefix", "{hmac: {header: X-Hub-Signature-256, prefix: sha256=, encoding: hex}}", http.Header{"X-Hub-Signature-256": {signed("s", body, hex.EncodeToString)}}, nil, body, []Secret{"s"}, false},

		{"standard webhooks", standard, webhook("1614265330", right), nil, standardBody, []Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, true},
		{"standard webhooks, several signatures", standard, webhook("1614265330", "v1,AAAA v1a,BBBB "+right), nil, standardBody, []Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, true},
		{"standard webhooks, another time", standard, webhook("1614265331", right), nil, standardBody, []Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, false},
		{"standard webhooks, too old", standard, webhook("1614265029", right), nil, standardBody, []Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, false},

		{"token in a header", `{token: {header: Authorization, prefix: "Bearer "}}`, http.Header{"Authorization": {"bearer t0ken"}}, nil, "", []Secret{"t0ken"}, true},
		{"token without its prefix", `{token: {header: Authorization, prefix: "Bearer "}}`, http.Header{"Authorization": {"t0ken"}}, nil, "", []Secret{"t0ken"}, false},
		{"another token", `{token: {header: Authorization, prefix: "Bearer "}}`, http.Header{"Authorization": {"Bearer t0ken2"}}, nil, "", []Secret{"t0ken"}, false},
		{"an empty token", `{token: {header: Authorization, prefix: "Bearer "}}`, http.Header{"Authorization": {"Bearer "}}, nil, "", []Secret{""}, false},
		{"token in the query", `{token: {query: api_secret}}`, nil, url.Values{"api_secret": {"t"}}, "", []Secret{"t"}, true},
		{"no token in the query", `{token: {query: api_secret}}`, nil, url.Values{}, "", []Secret{"t"}, false},
	} {
		m, err := Parse("my.yaml", []byte("name: my\ncalls: [{event: E, user: .u}]\nauthenticate: "+c.authenticate), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Authentication().Check(c.header, c.query, []byte(c.body), c.secrets, now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
