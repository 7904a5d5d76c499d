package lease

import (
	"cmp"
	"hash/fnv"
	"io"
	"slices"
)

// share gives each topic of a chain to one of the workers that serve it; serves has the topics by worker. The
// same input gives the same shares everywhere. Where all serve the same topics, nobody has more than one topic
// more than another; a worker that comes or goes moves little else than its own share.
func share(chain string, serves map[string][]string) map[string]string {
	type bid struct {
		weight        uint64
		topic, worker string
	}
	var bids []bid
	owner := map[string]string{}
	for worker, topics := range serves {
		for _, topic := range topics {
			bids = append(bids, bid{weight(chain, topic, worker), topic, worker})
			owner[topic] = ""
		}
	}
	slices.SortFunc(bids, func(a, b bid) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.topic, b.topic), cmp.Compare(a.worker, b.worker))
	})
	if len(bids) == 0 {
		return owner
	}
	least, more := len(owner)/len(serves), len(owner)%len(serves) // so many workers get one more than least
	count := map[string]int{}
	for _, b := range bids {
		if owner[b.topic] != "" || count[b.worker] > least || count[b.worker] == least && more == 0 {
			continue
		}
		if count[b.worker] == least {
			more--
		}
		owner[b.topic] = b.worker
		count[b.worker]++
	}
	for _, b := range bids { // what only workers without room serve
		if owner[b.topic] == "" {
			owner[b.topic] = b.worker
		}
	}
	return owner
}

// weight is how much a worker wants a topic: FNV-1a, then the finalizer of MurmurHash3, without which names
// that differ in their last letter weigh alike.
func weight(chain, topic, worker string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, chain+"\x00"+topic+"\x00"+worker) // a hash takes everything
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
