package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/cella-network/cella/client"
)

// view is how a command speaks: facts on out, everything else on err. Progress is bars on a terminal and plain lines elsewhere.
type view struct {
	out, err io.Writer
	json     bool

	bars  *mpb.Progress // nil off a terminal
	bar   *mpb.Bar
	words atomic.Value // string beside the bar, read by the bars' goroutine
	last  client.Progress
	began time.Time
	said  time.Time
}

func newView(cmd *cobra.Command) *view {
	v := &view{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
	v.json, _ = cmd.Flags().GetBool("json")
	if f, ok := v.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		v.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(36), mpb.WithAutoRefresh())
	}
	return v
}

// facts prints a value for programs.
func (v *view) facts(x any) error {
	enc := json.NewEncoder(v.out)
	enc.SetIndent("", "  ")
	return enc.Encode(x)
}

// note tells a person something that no program needs.
func (v *view) note(format string, args ...any) {
	if !v.json {
		fmt.Fprintf(v.err, format+"\n", args...)
	}
}

// close ends the progress and leaves what it shows. It may be called again.
func (v *view) close() {
	if v.bars == nil {
		v.sayLast()
		return
	}
	if v.bar != nil {
		v.bar.Abort(false)
		v.bar = nil
	}
	v.bars.Wait()
	v.bars = nil
}

// stageWords are what a person reads.
var stageWords = map[client.Stage]string{
	client.StageRead:  "reading",
	client.StageCode:  "coding",
	client.StageOffer: "looking",
	client.StageOrder: "ordering",
	client.StageSend:  "storing",
	client.StageFetch: "fetching",
	client.StageWrite: "writing",
	stageVerify:       "verifying",
}

// waitWords are for the stages that only wait.
var waitWords = map[client.Stage]string{
	client.StageOffer: "waiting for operators with room",
	client.StageOrder: "waiting for a block",
}

// progress shows how far a stage is.
func (v *view) progress(p client.Progress) {
	fresh := p.Stage != v.last.Stage
	if v.bars != nil {
		v.draw(p, fresh)
	} else {
		v.say(p, fresh)
	}
	if fresh {
		v.began = time.Now()
	}
	v.last = p
}

func (v *view) draw(p client.Progress, fresh bool) {
	v.words.Store(replicaWords(p))
	if fresh {
		if v.bar != nil {
			v.bar.SetTotal(-1, true)
		}
		v.bar = v.newBar(p)
	}
	if p.Total > 0 {
		v.bar.SetTotal(int64(p.Total), false)
	} else {
		v.bar.SetTotal(int64(p.Done)+1, false)
	}
	v.bar.SetCurrent(int64(p.Done))
}

func (v *view) newBar(p client.Progress) *mpb.Bar {
	before := []decor.Decorator{decor.Name(stageWords[p.Stage], decor.WCSyncSpaceR)}
	var after []decor.Decorator
	if words := waitWords[p.Stage]; words != "" {
		return v.bars.New(0, mpb.SpinnerStyle(), mpb.PrependDecorators(before...), mpb.AppendDecorators(decor.Name(words)))
	}
	before = append(before, decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace))
	if p.Stage == client.StageSend {
		after = append(after, decor.Any(func(decor.Statistics) string { return v.words.Load().(string) }))
	} else {
		after = append(after, decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace))
	}
	return v.bars.New(0, mpb.BarStyle(), mpb.PrependDecorators(before...), mpb.AppendDecorators(after...))
}

// say prints a line when a stage is over, when replicas move on, and now and then.
func (v *view) say(p client.Progress, fresh bool) {
	if fresh {
		v.sayLast()
		v.said = time.Now()
	}
	moved := p.Accepted != v.last.Accepted || p.Proven != v.last.Proven
	switch {
	case waitWords[p.Stage] != "":
		if fresh {
			fmt.Fprintf(v.err, "%s: %s\n", stageWords[p.Stage], waitWords[p.Stage])
		}
	case p.Stage == client.StageSend:
		if fresh || moved {
			fmt.Fprintf(v.err, "storing: %s\n", replicaWords(p))
		}
	case time.Since(v.said) > 5*time.Second:
		v.said = time.Now()
		fmt.Fprintln(v.err, v.bytes(p))
	}
}

// sayLast prints the end of a stage that counted bytes.
func (v *view) sayLast() {
	if p := v.last; p.Stage == client.StageRead || p.Stage == client.StageCode || p.Stage == client.StageFetch || p.Stage == client.StageWrite {
		fmt.Fprintln(v.err, v.bytes(p))
	}
	v.last = client.Progress{}
}

// bytes tells how far a stage is that counts bytes, its rate and the time left.
func (v *view) bytes(p client.Progress) string {
	s := stageWords[p.Stage] + ": " + bytesWords(p.Done)
	took := time.Since(v.began).Seconds()
	if p.Total > p.Done {
		s += " of " + bytesWords(p.Total)
	}
	if p.Done == 0 || took < 1 {
		return s
	}
	rate := float64(p.Done) / took
	s += ", " + bytesWords(uint64(rate)) + "/s"
	if p.Total > p.Done {
		s += fmt.Sprintf(", %s left", time.Duration(float64(p.Total-p.Done)/rate*float64(time.Second)).Round(time.Second))
	}
	return s
}

func replicaWords(p client.Progress) string {
	return fmt.Sprintf("order %d, %d of %d replicas accepted, %d proven", p.Order, p.Accepted, p.Replicas, p.Proven)
}

func bytesWords(n uint64) string { return humanize.IBytes(n) }

// coins writes ucella as CELLA, exactly.
func coins(ucella uint64) string {
	s := strconv.FormatUint(ucella/1e6, 10)
	if f := ucella % 1e6; f > 0 {
		frac := fmt.Sprintf("%06d", f)
		for frac[len(frac)-1] == '0' {
			frac = frac[:len(frac)-1]
		}
		s += "." + frac
	}
	return s + " CELLA"
}
