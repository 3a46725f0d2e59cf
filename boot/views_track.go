package boot

import (
	"fmt"

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

// ShowBFD implements commands.View.
func (r *Router) ShowBFD(details bool) cli.Result {
	sessions, counters := r.BFD()
	return show.NewBFDNeighbors(sessions, counters, details, r.clock.Now())
}
