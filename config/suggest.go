package config

import (
	"fmt"
	"strings"
)

// suggest finds the candidate that was probably meant, or "".
func suggest(word string, candidates []string) string {
	best, distance := "", len(word)/3+2
	for _, c := range candidates {
		d := editDistance(strings.ToLower(word), strings.ToLower(c))
		if limit := max(len(word), len(c))/3 + 1; d > limit {
			// A word with a part missing or added is meant, too: "gre" for "gre ip", "esp-aes-cbc-256" for "aes-cbc-256".
			if len(word) < 3 || len(c) < 3 || !(strings.Contains(c, word) || strings.Contains(word, c)) {
				continue
			}
			d = limit
		}
		if d < distance || (d == distance && best == "") {
			best, distance = c, d
		}
	}
	return best
}

// didYouMean is what to say about an unknown word: the probable one, or all there are when they are few.
func didYouMean(word string, candidates []string) string {
	if s := suggest(word, candidates); s != "" && s != word {
		return fmt.Sprintf(" (did you mean %q?)", s)
	}
	switch n := len(candidates); {
	case n == 0:
		return " (there is none)"
	case n == 1:
		return fmt.Sprintf(" (there is only %q)", candidates[0])
	case n <= 8:
		return " (there are " + quoteList(candidates) + ")"
	}
	return ""
}

func quoteList(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(q, ", ")
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). Long words are
// compared by their beginnings: nobody meant them.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), 64)], y[:min(len(y), 64)]
	prev2, prev, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(y)]
}
