package guide

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of the guide.
type block struct {
	line     int    // of its fence, from 1
	language string // after the fence
	mark     string // of the comment right above it: played, yours, or nothing
	text     []string
	commands []command // of a console
}

// command is what stands behind one prompt, with the output that the guide shows for it.
type command struct {
	line   int
	prompt string // all before the space: #, $, friend$
	text   string
	output []string
}

var (
	markRE   = regexp.MustCompile(`^<!-- (\w+)(:.*)? -->$`)
	promptRE = regexp.MustCompile(`^([a-z]*[$#]) (.+)$`)
)

// parse finds all fenced blocks. It refuses what a reader could take for a command and the test would miss.
func parse(guide string) ([]block, error) {
	var out []block
	var open *block
	mark := ""
	for i, line := range strings.Split(guide, "\n") {
		switch {
		case strings.HasPrefix(line, "```") && open == nil:
			open = &block{line: i + 1, language: line[3:], mark: mark}
		case line == "```":
			if open.language == "console" {
				if err := open.read(); err != nil {
					return nil, err
				}
			}
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text = append(open.text, line)
		case strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t"):
			return nil, fmt.Errorf("line %d: indented text could be a command: use a fence", i+1)
		}
		if mark = ""; open == nil {
			if m := markRE.FindStringSubmatch(line); m != nil {
				mark = m[1]
			} else if strings.HasPrefix(line, "<!--") {
				return nil, fmt.Errorf("line %d: unknown mark %s", i+1, line)
			}
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the fence is not closed", open.line)
	}
	return out, nil
}

// read takes a console apart. A command goes on in the next line behind a backslash.
func (b *block) read() error {
	more := false
	for i, line := range b.text {
		last := len(b.commands) - 1
		m := promptRE.FindStringSubmatch(line)
		switch {
		case more:
			b.commands[last].text += "\n" + line
		case m != nil:
			b.commands = append(b.commands, command{line: b.line + 1 + i, prompt: m[1], text: m[2]})
		case last < 0:
			return fmt.Errorf("line %d: output before the first prompt", b.line+1+i)
		case line != "":
			b.commands[last].output = append(b.commands[last].output, line)
		}
		more = strings.HasSuffix(line, "\\") && (more || m != nil)
	}
	return nil
}

// What differs from one run to the next: addresses, roots, hashes, numbers with their units, and what the guide leaves out.
var varyingRE = regexp.MustCompile(`\.\.\.|cella1[a-z0-9]+|baf[a-z0-9]{8,}|\b[0-9A-Fa-f]{8,}\b|[+-]?\d[\d.,:]*(-\d+)*( [KMGT]?i?B\b)?`)

// shape is what a line of shown output asks of a line of real output: the same words in the same order.
func shape(line string) *regexp.Regexp {
	var b strings.Builder
	rest := strings.TrimSpace(line)
	literal := func(s string) {
		for i, word := range strings.Split(strings.Join(strings.Fields("|"+s+"|"), " "), " ") {
			if i > 0 {
				b.WriteString(`\s+`)
			}
			b.WriteString(regexp.QuoteMeta(strings.Trim(word, "|")))
		}
	}
	b.WriteString(`^\s*`)
	for {
		at := varyingRE.FindStringIndex(rest)
		if at == nil {
			break
		}
		literal(rest[:at[0]])
		if rest[at[0]:at[1]] == "..." {
			b.WriteString(`.*`)
		} else {
			b.WriteString(`\S+( [KMGT]?i?B\b)?`)
		}
		rest = rest[at[1]:]
	}
	literal(rest)
	b.WriteString(`\s*$`)
	return regexp.MustCompile(b.String())
}

// missing tells which of the shown lines is not among the real ones, in this order; empty if all are.
func missing(shown []string, real string) string {
	lines := strings.Split(real, "\n")
	for _, want := range shown {
		re, found := shape(want), false
		for i, line := range lines {
			if re.MatchString(line) {
				lines, found = lines[i+1:], true
				break
			}
		}
		if !found {
			return want
		}
	}
	return ""
}

func TestParse(t *testing.T) {
	got, err := parse("text\n<!-- played: why -->\n```console\n# one \\\n  more\nout\nfriend$ two\n```\n\n```console\n$ three\n```\n")
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	first := got[0].commands
	if got[0].mark != "played" || got[1].mark != "" || len(first) != 2 || first[0].prompt != "#" || first[0].text != "one \\\n  more" || first[0].line != 4 ||
		!slices.Equal(first[0].output, []string{"out"}) || first[1].prompt != "friend$" {
		t.Errorf("%+v", got)
	}
	for name, text := range map[string]string{
		"an indented command":       "text\n\n    $ rm -r x\n",
		"a mark that nobody knows":  "<!-- skip this -->\n```console\n$ x\n```\n",
		"output before the command": "```console\nout\n```\n",
		"an open fence":             "```console\n$ x\n",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s is let through", name)
		}
	}
}

func TestMissing(t *testing.T) {
	real := "home      /srv/x\nchain     c-1 at block 41\nspace     8.0 MiB stored, 64 MiB free\n+0.000013  1  pay"
	for shown, want := range map[string]string{
		"chain c-1 at block 812":                    "",
		"space  0 B stored, 12 GiB free":            "",
		"home ...\nchain ...":                       "",
		"chain ...\nhome ...":                       "home ...",
		"chain c-1":                                 "chain c-1",
		"space 8 MiB stored, 64 MiB free, 1 broken": "space 8 MiB stored, 64 MiB free, 1 broken",
		"-1.5 7 pay":                                "",
		"-1.5 7 fee":                                "-1.5 7 fee",
	} {
		if got := missing(strings.Split(shown, "\n"), real); got != want {
			t.Errorf("%q: %q is missing, want %q", shown, got, want)
		}
	}
}
