package rule

// shareOf places a customer in the ten thousandths [0, 10000), the same for ever, independently for each salt: GrowthBook's hash of version 2
// (https://docs.growthbook.io/lib/build-your-own#hashing).
func shareOf(salt, id string) int64 {
	first := fnv32a(fnv32a(2166136261, salt), id)
	var digits [10]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + first%10)
		if first /= 10; first == 0 {
			break
		}
	}
	return int64(fnv32a(2166136261, string(digits[i:])) % 10_000)
}

// fnv32a goes on with FNV-1a over a text's UTF-16 units, as GrowthBook's clients do.
func fnv32a(h uint32, text string) uint32 {
	for _, r := range text {
		if r >= 0x10000 {
			r -= 0x10000
			h = (h ^ uint32(0xd800+r>>10)) * 16777619
			r = 0xdc00 + r&0x3ff
		}
		h = (h ^ uint32(r)) * 16777619
	}
	return h
}
