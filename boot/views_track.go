package boot

import (
	"fmt"
	"time"

	"felloe/manage/cli"
	"felloe/manage/show"
)

// ShowTracks implements commands.View.
func (r *Router) ShowTracks(id int, brief bool) (cli.Result, error) {
	out := show.NewTracks(r.Tracks(), id, brief, r.clock.Now())
	if id != 0 && len(out.Tracks) == 0 {
		return nil, fmt.Errorf("%% There is no track %d", id)
	}
	return out, nil
}

// ClearBFDCounters implements commands.Verbs.
func (r *Router) ClearBFDCounters() {
	r.look(func() {
		if p := r.prompt; p != nil {
			p.call("clear bfd counters", func(time.Time) {
				p.engine.ClearCounters()
				p.filter.ClearCounters()
			})
		}
	})
}

// ShowBFD implements commands.View.
func (r *Router) ShowBFD(details bool) cli.Result {
	sessions, counters := r.BFD()
	return show.NewBFDNeighbors(sessions, counters, details, r.clock.Now())
}
