package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"attune/stages/ingest/file"
)

// importProgress is a bar on a terminal, else a line every ten seconds.
type importProgress struct {
	reader *file.Reader
	out    io.Writer
	bar    *progressbar.ProgressBar
	last   time.Time
}

func newImportProgress(reader *file.Reader, out io.Writer) *importProgress {
	p := &importProgress{reader: reader, out: out, last: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("calls"),
			progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *importProgress) show() {
	if p.bar == nil && time.Since(p.last) < 10*time.Second {
		return
	}
	p.last = time.Now()
	now := p.reader.Progress()
	if p.bar == nil {
		fmt.Fprintf(p.out, "%d rows read, %d calls made\n", now.Rows, now.Calls)
		return
	}
	if now.CallsTotal > 0 {
		p.bar.ChangeMax64(now.CallsTotal)
	}
	_ = p.bar.Set64(now.Calls) // a bar that can't be drawn is no reason to stop
}

func (p *importProgress) stop() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
