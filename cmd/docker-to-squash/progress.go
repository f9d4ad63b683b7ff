package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/stormcell/stormcell/internal/store/publish"
)

// progress shows how far layers are.
type progress interface {
	publish.Progress
	// Close waits until the last state is shown. Every layer has ended by then.
	Close()
}

// words say what happens to layers.
type words struct{ doing, done, failed string }

var (
	converting = words{"converting layer", "layer is in the store", "layer was not converted"}
	copying    = words{"copying layer", "layer is in the store", "layer was not copied"}
	reading    = words{"reading layer", "layer was read", "layer was not read"}
)

// newProgress draws bars on a terminal, and else writes log lines.
func newProgress(w io.Writer, log *slog.Logger, say words) progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &bars{container: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40)), bars: map[digest.Digest]*mpb.Bar{}}
	}
	return &lines{log: log, say: say, now: time.Now, layers: map[digest.Digest]*layerLine{}}
}

// shortDigest is enough of a digest to tell layers apart on a screen.
func shortDigest(d digest.Digest) string { return d.Encoded()[:min(12, len(d.Encoded()))] }

// bars is a bar for each layer, in bytes of its blob.
type bars struct {
	container *mpb.Progress
	lock      sync.Mutex
	bars      map[digest.Digest]*mpb.Bar
}

// Begin implements publish.Progress.
func (b *bars) Begin(layer digest.Digest, size int64) {
	// A bar that is born with a total ends by itself when it is reached. This
	// one goes on until the layer is in the store.
	bar := b.container.AddBar(0,
		mpb.PrependDecorators(
			decor.Name(shortDigest(layer)+" "),
			decor.CountersKibiByte("% .1f / % .1f", decor.WC{W: 24}),
		),
		mpb.AppendDecorators(
			decor.Percentage(decor.WC{W: 5}),
			decor.OnAbort(decor.OnComplete(decor.AverageSpeed(decor.SizeB1024(0), " % .1f"), " done"), " failed"),
		),
	)
	bar.SetTotal(size, false)
	b.lock.Lock()
	defer b.lock.Unlock()
	b.bars[layer] = bar
}

func (b *bars) bar(layer digest.Digest) *mpb.Bar {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.bars[layer]
}

// Advance implements publish.Progress.
func (b *bars) Advance(layer digest.Digest, n int64) { b.bar(layer).IncrInt64(n) }

// End implements publish.Progress.
func (b *bars) End(layer digest.Digest, done bool) {
	if done {
		b.bar(layer).SetTotal(-1, true)
	} else {
		b.bar(layer).Abort(false)
	}
}

// Close implements progress.
func (b *bars) Close() { b.container.Wait() }

// lineInterval is the least time between two lines of one layer.
const lineInterval = 5 * time.Second

// lines writes a line for each layer's start and end, and some in between.
type lines struct {
	log    *slog.Logger
	say    words
	now    func() time.Time
	lock   sync.Mutex
	layers map[digest.Digest]*layerLine
}

type layerLine struct {
	size, read     int64
	began, written time.Time
}

// Begin implements publish.Progress.
func (l *lines) Begin(layer digest.Digest, size int64) {
	l.lock.Lock()
	defer l.lock.Unlock()
	now := l.now()
	l.layers[layer] = &layerLine{size: size, began: now, written: now}
	l.log.Info(l.say.doing, "layer", layer, "size", humanBytes(size))
}

// Advance implements publish.Progress.
func (l *lines) Advance(layer digest.Digest, n int64) {
	l.lock.Lock()
	defer l.lock.Unlock()
	s := l.layers[layer]
	s.read += n
	if now := l.now(); now.Sub(s.written) >= lineInterval {
		s.written = now
		l.log.Info(l.say.doing, "layer", layer, "read", fmt.Sprintf("%s of %s", humanBytes(s.read), humanBytes(s.size)))
	}
}

// End implements publish.Progress.
func (l *lines) End(layer digest.Digest, done bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	took := l.now().Sub(l.layers[layer].began).Round(10 * time.Millisecond)
	if done {
		l.log.Info(l.say.done, "layer", layer, "took", took)
	} else {
		l.log.Debug(l.say.failed, "layer", layer, "took", took)
	}
}

// Close implements progress.
func (l *lines) Close() {}
