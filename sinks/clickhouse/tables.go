package clickhouse

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func eventRows(b pipeline.SinkBatch) *rows {
	n := 0
	for _, part := range b.Parts {
		n += len(part.Facts.Events)
	}
	var (
		id, kind, name, who     = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		user, context, currency = make([]string, n), make([]string, n), make([]string, n)
		occurred, accepted      = make([]time.Time, n), make([]time.Time, n)
		historical              = make([]bool, n)
		properties, traits      = make([]event.Object, n), make([]event.Object, n)
		consent                 = make([]map[string]bool, n)
		revenue, clv            = make([]decimal.Decimal, n), make([]decimal.Decimal, n)
		sure, alive             = make([]float64, n), make([]float64, n)
		likely, confidence      = make([]map[string]float64, n), make([]map[string]float64, n)
		segments                = make([][]string, n)
		partitions, sequence    = make([]uint16, n), make([]uint64, n)
	)
	i := 0
	for fact, partition := range enriched(b) {
		e := &fact.Event
		id[i], kind[i], name[i], who[i], user[i] = e.ID, string(e.Type), e.Name, e.Profile, e.User
		occurred[i], accepted[i], historical[i] = moment(e.Occurred), moment(e.Accepted), e.Historical
		properties[i], traits[i], context[i] = e.Properties, e.Traits, string(e.Context)
		consent[i] = e.Consent
		revenue[i], currency[i] = amount(e.Revenue()), textAt(e.Properties, "currency")
		clv[i], sure[i], alive[i], segments[i] = cents(fact.CLV), fact.CLVConfidence, fact.Alive, fact.Segments
		likely[i], confidence[i] = byName(fact.Propensities)
		partitions[i], sequence[i] = partition, fact.Position
		i++
	}
	r := &rows{table: "events", n: n, courtesy: b.Courtesy}
	r.add("event_id", id)
	r.add("type", kind)
	r.add("event", name)
	r.add("profile_id", who)
	r.add("user_id", user)
	r.add("occurred", occurred)
	r.add("accepted", accepted)
	r.add("historical", historical)
	r.addJSON("properties", properties, typedProperties()...)
	r.addJSON("traits", traits)
	r.add("context", context)
	r.add("consent", sortedAll(consent))
	r.add("revenue", revenue)
	r.add("currency", currency)
	r.add("clv", clv)
	r.add("clv_confidence", sure)
	r.add("alive", alive)
	r.add("propensity", sortedAll(likely))
	r.add("propensity_confidence", sortedAll(confidence))
	r.add("segments", segments)
	r.add("partition", partitions)
	r.add("sequence", sequence)
	return r
}

// byName are the scores and how far each is known; nil where there is none.
func byName(scores []profile.Propensity) (value, confidence map[string]float64) {
	if len(scores) == 0 {
		return nil, nil
	}
	value, confidence = make(map[string]float64, len(scores)), make(map[string]float64, len(scores))
	for _, s := range scores {
		value[s.Name], confidence[s.Name] = s.Value, s.Confidence
	}
	return value, confidence
}

// enriched are the events of all commits, in their order, each with its partition.
func enriched(b pipeline.SinkBatch) iter.Seq2[*pipeline.Enriched, uint16] {
	return func(yield func(*pipeline.Enriched, uint16) bool) {
		for _, part := range pipeline.GivingWay(b.Courtesy, b.Parts, 1) {
			for i := range part.Facts.Events {
				if !yield(&part.Facts.Events[i], uint16(part.Partition)) {
					return
				}
			}
		}
	}
}

// profileRows keeps the newest state of each profile; its version is the log sequence that it has applied.
func profileRows(b pipeline.SinkBatch) *rows {
	type snapshot struct {
		profile   *profile.Profile
		partition uint16
	}
	var kept []snapshot
	place := map[string]int{}
	for _, part := range b.Parts {
		for _, p := range part.Profiles {
			s := snapshot{p, uint16(part.Partition)}
			j, seen := place[p.ID]
			switch {
			case !seen:
				place[p.ID] = len(kept)
				kept = append(kept, s)
			case p.Applied >= kept[j].profile.Applied:
				kept[j] = s
			}
		}
	}
	n := len(kept)
	var (
		id                              = make([]string, n)
		updated                         = make([]time.Time, n)
		firstSeen, lastSeen, scored     = make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
		firstOrder, lastOrder           = make([]*time.Time, n), make([]*time.Time, n)
		traits                          = make([]event.Object, n)
		consents                        = make([]map[string]bool, n)
		counts                          = make([]map[string]uint64, n)
		orders, refunds, defs, versions = make([]uint64, n), make([]uint64, n), make([]uint64, n), make([]uint64, n)
		revenue, refunded, clv          = make([]decimal.Decimal, n), make([]decimal.Decimal, n), make([]decimal.Decimal, n)
		sure, alive                     = make([]float64, n), make([]float64, n)
		confidence, discount            = make([]float64, n), make([]float64, n)
		stage, tier, style, zone        = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		into                            = make([]string, n)
		hour                            = make([]*uint8, n)
		foretold                        = make([]*time.Time, n)
		likely, known                   = make([]map[string]float64, n), make([]map[string]float64, n)
		segments                        = make([][]string, n)
		partitions                      = make([]uint16, n)
	)
	for i, s := range kept {
		p := s.profile
		id[i], updated[i], into[i] = p.ID, moment(p.Now), p.Into
		firstSeen[i], lastSeen[i], scored[i] = since(p.First), since(p.Last), since(p.Scores.Scored)
		firstOrder[i], lastOrder[i] = since(p.Orders.First), since(p.Orders.Last)
		traits[i], counts[i] = traitsOf(p), eventCounts(p)
		consents[i] = make(map[string]bool, len(p.Consents))
		for channel, c := range p.Consents {
			consents[i][channel] = c.Granted
		}
		orders[i], refunds[i] = p.Orders.Count, p.Orders.Refunds
		revenue[i], refunded[i] = amount(p.Orders.Revenue), amount(p.Orders.Refunded)
		clv[i], sure[i], alive[i] = cents(p.Scores.CLV), p.Scores.Confidence, p.Scores.Alive
		likely[i], known[i] = byName(p.Propensities.Scores)
		foretold[i] = since(p.Propensities.At)
		segments[i], defs[i] = p.Memberships(), p.Definitions
		stage[i], tier[i], zone[i] = p.Standing.Lifecycle.String(), p.Standing.Tier, p.Zone.Name
		style[i], discount[i] = p.StyleGroup(), p.Affinity(profile.Discount, profile.Discounted)
		confidence[i], _ = p.StyleConfidence(p.Now)
		if h, _, ok := p.SendHour(0); ok {
			utc := uint8(h)
			hour[i] = &utc
		}
		partitions[i], versions[i] = s.partition, p.Applied
	}
	r := &rows{table: "profiles", n: n, courtesy: b.Courtesy}
	r.add("profile_id", id)
	r.add("updated_at", updated)
	r.add("first_seen", firstSeen)
	r.add("last_seen", lastSeen)
	r.addJSON("traits", traits)
	r.add("consents", sortedAll(consents))
	r.add("counts", sortedAll(counts))
	r.add("orders", orders)
	r.add("refunds", refunds)
	r.add("revenue", revenue)
	r.add("refunded", refunded)
	r.add("first_order", firstOrder)
	r.add("last_order", lastOrder)
	r.add("lifecycle", stage)
	r.add("tier", tier)
	r.add("style_group", style)
	r.add("style_confidence", confidence)
	r.add("discount_affinity", discount)
	r.add("send_hour", hour)
	r.add("zone", zone)
	r.add("merged_into", into)
	r.add("clv", clv)
	r.add("clv_confidence", sure)
	r.add("alive", alive)
	r.add("propensity", sortedAll(likely))
	r.add("propensity_confidence", sortedAll(known))
	r.add("propensity_at", foretold)
	r.add("scored_at", scored)
	r.add("segments", segments)
	r.add("definitions", defs)
	r.add("partition", partitions)
	r.add("version", versions)
	return r
}

// eventCounts is how often each event happened, by name.
func eventCounts(p *profile.Profile) map[string]uint64 {
	counts := make(map[string]uint64, len(p.Activities))
	for i := range p.Activities {
		counts[p.Activities[i].Name] = p.Activities[i].Count
	}
	return counts
}

// traitsOf is one object of all traits, names sorted; nil when there are none.
func traitsOf(p *profile.Profile) event.Object {
	if len(p.Traits) == 0 {
		return nil
	}
	names := make([]string, 0, len(p.Traits))
	for name := range p.Traits {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	separator := byte('{')
	for _, name := range names {
		b.WriteByte(separator)
		separator = ','
		key, _ := json.Marshal(name) // no string fails
		b.Write(key)
		b.WriteByte(':')
		if value := p.Traits[name].Value; len(value) > 0 {
			b.Write(value)
		} else {
			b.WriteString("null")
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

func changeRows(b pipeline.SinkBatch) *rows {
	n := 0
	for _, part := range b.Parts {
		n += len(part.Facts.Changes)
	}
	var (
		segment, who, reason = make([]string, n), make([]string, n), make([]string, n)
		at                   = make([]time.Time, n)
		entered              = make([]bool, n)
		defs, sequence       = make([]uint64, n), make([]uint64, n)
		partitions           = make([]uint16, n)
	)
	i := 0
	for _, part := range b.Parts {
		for _, c := range part.Facts.Changes {
			segment[i], who[i], reason[i] = c.Segment, c.Profile, c.Reason
			at[i], entered[i], defs[i] = moment(c.At), c.Entered, c.Version
			partitions[i], sequence[i] = uint16(part.Partition), c.Position
			i++
		}
	}
	r := &rows{table: "segment_changes", n: n, courtesy: b.Courtesy}
	r.add("segment", segment)
	r.add("profile_id", who)
	r.add("at", at)
	r.add("entered", entered)
	r.add("reason", reason)
	r.add("definitions", defs)
	r.add("partition", partitions)
	r.add("sequence", sequence)
	return r
}

func decisionRows(b pipeline.SinkBatch) *rows {
	n := 0
	for _, part := range b.Parts {
		n += len(part.Facts.Decisions)
	}
	var (
		id, who, campaign, key         = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		outcome, reason, detail, cause = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		destination, template          = make([]string, n), make([]string, n)
		at                             = make([]time.Time, n)
		clv                            = make([]decimal.Decimal, n)
		defs, sequence                 = make([]uint64, n), make([]uint64, n)
		partitions                     = make([]uint16, n)
	)
	i := 0
	for _, part := range b.Parts {
		for _, d := range part.Facts.Decisions {
			id[i], at[i], who[i], campaign[i], key[i] = d.ID, moment(d.At), d.Profile, d.Campaign, d.Key
			outcome[i], reason[i], detail[i], cause[i] = string(d.Outcome), d.Reason, d.Detail, d.Cause
			destination[i], template[i], clv[i], defs[i] = d.Destination, d.Template, cents(d.CLV), d.Version
			partitions[i], sequence[i] = uint16(part.Partition), d.Position
			i++
		}
	}
	r := &rows{table: "decisions", n: n, courtesy: b.Courtesy}
	r.add("decision_id", id)
	r.add("at", at)
	r.add("profile_id", who)
	r.add("campaign", campaign)
	r.add("key", key)
	r.add("outcome", outcome)
	r.add("reason", reason)
	r.add("detail", detail)
	r.add("cause", cause)
	r.add("destination", destination)
	r.add("template", template)
	r.add("clv", clv)
	r.add("definitions", defs)
	r.add("partition", partitions)
	r.add("sequence", sequence)
	return r
}

// messageRows has a row for each event that ends a delivery.
func messageRows(b pipeline.SinkBatch) *rows {
	var (
		id, decision, who, campaign            []string
		destination, template, outcome, reason []string
		at                                     []time.Time
		attempt                                []uint32
		clv                                    []decimal.Decimal
		partitions                             []uint16
		sequence                               []uint64
	)
	for fact, partition := range enriched(b) {
		e := &fact.Event
		if e.Type != event.Delivery {
			continue
		}
		id, who, at = append(id, e.ID), append(who, e.Profile), append(at, moment(e.Accepted))
		decision = append(decision, textAt(e.Properties, "decision"))
		campaign = append(campaign, textAt(e.Properties, "campaign"))
		destination = append(destination, textAt(e.Properties, "destination"))
		template = append(template, textAt(e.Properties, "template"))
		outcome = append(outcome, textAt(e.Properties, "outcome"))
		reason = append(reason, textAt(e.Properties, "reason"))
		tries, _ := e.Properties.Get("attempt").Number()
		attempt = append(attempt, uint32(min(max(tries, 0), math.MaxUint32)))
		clv = append(clv, cents(fact.CLV))
		partitions, sequence = append(partitions, partition), append(sequence, fact.Position)
	}
	r := &rows{table: "messages", n: len(id), courtesy: b.Courtesy}
	r.add("event_id", id)
	r.add("decision_id", decision)
	r.add("at", at)
	r.add("profile_id", who)
	r.add("campaign", campaign)
	r.add("destination", destination)
	r.add("template", template)
	r.add("outcome", outcome)
	r.add("reason", reason)
	r.add("attempt", attempt)
	r.add("clv", clv)
	r.add("partition", partitions)
	r.add("sequence", sequence)
	return r
}

// typedProperties are those that the column of events holds as text, empty where there is none.
func typedProperties() []string {
	return []string{"order_id", "product_id", "category", "cart_id", "currency"}
}
