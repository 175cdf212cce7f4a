package cella

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// row is a line of docs/attacks.md.
type row struct {
	name   string // of its mutant, testdata/mutants/NAME.txtar
	guard  string // file
	within string // function or type of that file
	error  string // what the attacker gets to see; empty where there is only a consequence
	pkg    string // folder of the test
	test   string
}

// mutant is a guard's removal: where before stands in the guard's file, after is put.
type mutant struct{ before, after string }

var (
	cell  = regexp.MustCompile("`([^`]*)`")
	runs  = flag.Bool("mutants", false, "remove each guard of docs/attacks.md in turn and require its test to fail")
	only  = flag.String("mutant", "", "with -mutants: only the rows whose name matches this expression")
	patch = 5 * time.Minute // most that one mutant's test may take, its build included
)

// rows reads the table. A line of it is: | name | attack | `file` function | `error` or words | `package` Test |.
func rows(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("docs", "attacks.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []row
	for n, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		f := strings.Split(strings.Trim(line, "| "), " | ")
		if len(f) != 5 {
			t.Fatalf("docs/attacks.md:%d: %d columns, want 5", n+1, len(f))
		}
		code := func(i int) (quoted, rest string) {
			m := cell.FindStringSubmatchIndex(f[i])
			if m == nil {
				return "", strings.TrimSpace(f[i])
			}
			return f[i][m[2]:m[3]], strings.TrimSpace(f[i][m[1]:])
		}
		r := row{}
		r.name, _ = code(0)
		r.guard, r.within = code(2)
		r.error, _ = code(3)
		r.pkg, r.test = code(4)
		all = append(all, r)
	}
	return all
}

func (r row) read() (mutant, error) {
	a, err := txtar.ParseFile(filepath.Join("testdata", "mutants", r.name+".txtar"))
	if err != nil {
		return mutant{}, err
	}
	if len(a.Files) != 2 || a.Files[0].Name != "before" || a.Files[1].Name != "after" {
		return mutant{}, fmt.Errorf("%s.txtar: want the two parts before and after", r.name)
	}
	part := func(i int) string { return strings.TrimSuffix(string(a.Files[i].Data), "\n") } // that a part ends a line is the archive's
	return mutant{part(0), part(1)}, nil
}

// apply returns the guard's file without the guard.
func (r row) apply() ([]byte, error) {
	m, err := r.read()
	if err != nil {
		return nil, err
	}
	source, err := os.ReadFile(r.guard)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(source, []byte(m.before)); n != 1 || m.before == "" {
		return nil, fmt.Errorf("what the mutant takes away stands in %s %d times, want once", r.guard, n)
	}
	return bytes.Replace(source, []byte(m.before), []byte(m.after), 1), nil
}

// TestAttacks checks that every row of docs/attacks.md resolves: guard, error, test and mutant are there.
func TestAttacks(t *testing.T) {
	all := rows(t)
	if len(all) < 40 {
		t.Fatalf("%d rows were read: the test looks at the wrong place", len(all))
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.name] {
			t.Errorf("%s: two rows have this name", r.name)
		}
		seen[r.name] = true
		source, err := os.ReadFile(r.guard)
		if err != nil {
			t.Errorf("%s: guard: %v", r.name, err)
			continue
		}
		if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type )` + regexp.QuoteMeta(r.within) + `\b`).Match(source) {
			t.Errorf("%s: %s declares no %q", r.name, r.guard, r.within)
		}
		if r.error != "" && !stands(t, r.error, filepath.Dir(r.guard)) {
			t.Errorf("%s: no source beside %s says %q", r.name, r.guard, r.error)
		}
		if !declares(t, r.pkg, r.test) {
			t.Errorf("%s: %s has no test %q", r.name, r.pkg, r.test)
		}
		if _, err := r.apply(); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "mutants", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".txtar"); !seen[name] {
			t.Errorf("%s: no row of docs/attacks.md has this name", f)
		}
	}
}

// stands tells whether some source file in a folder, tests excluded, contains the text.
func stands(t *testing.T, text, dir string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		return err == nil && !strings.HasSuffix(f, "_test.go") && bytes.Contains(b, []byte(text))
	})
}

func declares(t *testing.T, pkg, test string) bool {
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(test, "/")
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		return err == nil && bytes.Contains(b, []byte("\nfunc "+name+"(t *testing.T)"))
	})
}

// TestMutants removes one guard after the other and requires the row's test to fail, after it has seen it pass with all
// guards in place. The tree is not touched: the toolchain lays the changed file over the real one.
func TestMutants(t *testing.T) {
	if !*runs {
		return // `make mutants` asks for it
	}
	want := regexp.MustCompile(*only)
	healthy := map[string]string{}
	for _, r := range rows(t) {
		if !want.MatchString(r.name) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			key := r.pkg + " " + r.test
			out, known := healthy[key]
			if !known {
				out = runTest(t, r, "")
				healthy[key] = out
			}
			if out != "" {
				t.Fatalf("the test fails with the guard in place:\n%s", out)
			}
			changed, err := r.apply()
			if err != nil {
				t.Fatal(err)
			}
			switch out := runTest(t, r, overlay(t, r.guard, changed)); {
			case out == "":
				t.Errorf("the guard is gone and %s %s passes", r.pkg, r.test)
			case strings.Contains(out, "[build failed]") || !strings.Contains(out, "FAIL"):
				t.Errorf("the mutant does not build:\n%s", out)
			}
		})
	}
}

// overlay writes the changed file, and the list that tells the toolchain what it replaces.
func overlay(t *testing.T, file string, changed []byte) string {
	t.Helper()
	dir := t.TempDir()
	real, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	laid := filepath.Join(dir, filepath.Base(file))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {real: laid}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := cmp.Or(os.WriteFile(laid, changed, 0o600), os.WriteFile(path, list, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// runTest runs a row's test and returns what it printed if it failed. A test that builds programs of its own builds them with
// the overlay too, for it is in the environment.
func runTest(t *testing.T, r row, overlay string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patch)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout=4m", "-run", "^"+strings.ReplaceAll(r.test, "/", "$/^")+"$", "./"+r.pkg)
	cmd.WaitDelay = time.Second
	cmd.Env = os.Environ()
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && ctx.Err() == nil:
		return string(out) + err.Error()
	case err != nil: // a mutant that hangs is caught as well
		return "FAIL: no end after " + patch.String()
	case bytes.Contains(out, []byte("no tests to run")):
		return "no tests to run"
	}
	return ""
}
