package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"attune/pipeline"
)

// store parks what is wrong, appends what is right, and waits until both are durable. Parking goes first: when the
// log then fails, the client's retry finds its letters there. A whole payload is parked last: mapped
// again, it would become events that were never taken, beside those of the client's retry.
func (h *handler) store(ctx context.Context, in *intake, route, producer string, within time.Duration) reply {
	// A client that hangs up has had its request read: what was taken is finished.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	err := h.park(ctx, in.parked, false)
	if err == nil && len(in.records) > 0 {
		if err = h.log.Append(ctx, in.records); err != nil {
			err = fmt.Errorf("append %d records: %w", len(in.records), err)
		}
	}
	if err == nil {
		err = h.park(ctx, in.parked, true)
	}
	outcome := outcomeAccepted
	if err != nil {
		outcome = outcomeFailed
	}
	for _, kind := range in.kinds {
		h.metrics.count(kind, outcome, 1)
	}
	switch {
	case err == nil:
		h.logger.DebugContext(ctx, "accepted", "route", route, "producer", producer,
			"events", len(in.records), "parked", len(in.parked))
		return reply{status: http.StatusOK, parked: len(in.parked)}
	case errors.Is(err, ErrBusy):
		h.logger.DebugContext(ctx, "busy", "route", route, "producer", producer, "error", err)
		return refuse(http.StatusServiceUnavailable, wrong(codeUnavailable, "",
			"the log is full for the moment; try again after the pause in Retry-After"))
	default:
		h.logger.WarnContext(ctx, "could not store", "route", route, "producer", producer, "error", err)
		return refuse(http.StatusServiceUnavailable, wrong(codeUnavailable, "",
			"the events could not be stored; try again after the pause in Retry-After"))
	}
}

// park parks single calls, or whole payloads.
func (h *handler) park(ctx context.Context, all []parked, whole bool) error {
	var letters []pipeline.DeadLetter
	for i := range all {
		if whole == (all[i].letter.Entrance != "") {
			letters = append(letters, all[i].letter)
		}
	}
	if len(letters) == 0 {
		return nil
	}
	if err := h.dead.Park(ctx, letters); err != nil {
		return fmt.Errorf("park %d events: %w", len(letters), err)
	}
	for i := range all {
		if whole == (all[i].letter.Entrance != "") {
			h.metrics.count(all[i].kind, outcomeParked, 1)
		}
	}
	return nil
}
