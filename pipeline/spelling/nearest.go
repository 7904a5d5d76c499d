// Package spelling finds the word that somebody probably meant.
package spelling

import "strings"

// longest bounds the words that are compared, in runes.
const longest = 64

// Nearest is the known word with the fewest typing mistakes from what was written: at most two, and fewer than the word
// has letters. Case does not count; of several the first. Empty: none is near.
func Nearest(written string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := mistakes(written, k); d < distance && d < max(len([]rune(k)), 2) {
			best, distance = k, d
		}
	}
	return best
}

// mistakes counts insertions, deletions, replacements and swaps of neighbours between two words: the optimal string
// alignment distance (Damerau 1964, Levenshtein 1966).
func mistakes(a, b string) int {
	s, t := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if len(s) > longest || len(t) > longest {
		return longest
	}
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}
