package matrix

import (
	"fmt"
	"regexp"
	"sort"
	"time"

	"felloe/tests/interop/peers"
)

// Case is one lab and what it proves.
type Case struct {
	Name     string // unique, like "frr/hub/esp": what -only matches
	Group    string // heading of its rows in the documentation
	Peer     string // the software on the other side, without versions: "FRR, Linux, strongSwan"
	Title    string // what the arrangement is; the only row's text when there are no Rows
	Rows     []Row
	Expected *Expected // of the only row, when there are no Rows
	Short    bool      // part of the short set
	Packages []string  // Debian packages that the host needs
	Images   []peers.Image
	Timeout  time.Duration // 0: three minutes
	Run      func(r *Run)
}

// Row is one thing that a case proves.
type Row struct {
	ID       string // unique in its case
	What     string
	Expected *Expected
}

// Expected is a failure that a version of a peer is known for.
type Expected struct {
	Failure   string // regular expression that the failure's text matches
	Log       string // regular expression that a line of the peer's own log matches; empty when Reference names its bug
	Reason    string // for the documentation
	Reference string // "FRR #16371"
}

var cases = map[string]Case{}

// Register adds a case; packages of cases call it from init.
func Register(c Case) {
	if err := c.check(); err != nil {
		panic("matrix: " + err.Error())
	}
	cases[c.Name] = c
}

// Cases are all that are registered, by group and name.
func Cases() []Case {
	out := make([]Case, 0, len(cases))
	for _, c := range cases {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Group != out[j].Group {
			return out[i].Group < out[j].Group
		}
		return out[i].Name < out[j].Name
	})
	return out
}

func (c Case) check() error {
	if c.Name == "" || c.Group == "" || c.Title == "" || c.Peer == "" || c.Run == nil {
		return fmt.Errorf("case %q lacks its name, group, title, peer or Run", c.Name)
	}
	if _, twice := cases[c.Name]; twice {
		return fmt.Errorf("case %q is there twice", c.Name)
	}
	if c.Expected != nil && len(c.Rows) > 0 {
		return fmt.Errorf("case %q: the rows have their own expectations", c.Name)
	}
	seen := map[string]bool{}
	for _, r := range c.rows() {
		if seen[r.ID] || r.What == "" {
			return fmt.Errorf("case %q: row %q is there twice or says nothing", c.Name, r.ID)
		}
		seen[r.ID] = true
		if e := r.Expected; e != nil {
			if e.Failure == "" || e.Reason == "" || e.Log == "" && e.Reference == "" {
				return fmt.Errorf("case %q: row %q: an expected failure says how it looks, why it is, and whose bug or log line shows it", c.Name, r.ID)
			}
			for _, p := range []string{e.Failure, e.Log} {
				if _, err := regexp.Compile(p); err != nil {
					return fmt.Errorf("case %q: row %q: %w", c.Name, r.ID, err)
				}
			}
		}
	}
	return nil
}

// rows are the case's rows; a case without any is one.
func (c Case) rows() []Row {
	if len(c.Rows) > 0 {
		return c.Rows
	}
	return []Row{{What: c.Title, Expected: c.Expected}}
}
