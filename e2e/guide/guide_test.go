// Package guide runs what the operator's guide tells people to type, from top to bottom, as a new operator on a machine of its own, against
// a devnet that plays the public network.
//
// The test runs itself again in namespaces of its own. There the machine is a writable layer over this computer's own root or, with -image,
// over the root file system of an empty one:
//
//	go test ./e2e/guide -args -image /path/to/rootfs
package guide

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/pelletier/go-toml/v2"

	"cosmossdk.io/log/v2"

	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/devnet"
	"github.com/cella-network/cella/worker"
)

var (
	image    = flag.String("image", "/", "root file system of the machine on which the guide is tried; nothing is written to it")
	build    = flag.String("build", "../../build", "folder with cella and cella-enclave")
	guide    = "../../docs/operators.md"
	limit    = 20 * time.Minute // for all
	patience = 5 * time.Minute  // for one command
)

const (
	inside = "CELLA_GUIDE_INSIDE" // names, to the test that runs in the namespaces, the folder for the machine
	outer  = 3                    // file descriptor of the network namespace outside
)

// TestMain enters namespaces and begins again there. The one outside stays at hand, for packages come from there.
func TestMain(m *testing.M) {
	if flag.Parse(); flag.NArg() > 0 { // flags behind it would be passed over
		fmt.Fprintf(os.Stderr, "unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	os.Exit(enter())
}

func enter() int {
	// What is mounted there is seen inside alone. So it is empty out here, and is removed as an empty folder: nothing is ever deleted
	// through a mount.
	place, err := os.MkdirTemp("", "cella-guide-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.Remove(place)
	outside, err := os.Open("/proc/self/ns/net")
	if err == nil {
		defer outside.Close()
		cmd := exec.Command("unshare", append([]string{"--net", "--mount", "--propagation", "private", os.Args[0]}, os.Args[1:]...)...)
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), inside+"="+place), []*os.File{outside}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "in namespaces (which takes root):", err)
		return 1
	}
	return 0
}

// ownNames hides the names of network namespaces that others made, and ours from them.
func ownNames() error {
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", "/run/netns", "tmpfs", 0, "")
}

func blocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(string(text))
	if err != nil {
		t.Fatalf("docs/operators.md: %v", err)
	}
	return all
}

// operator is who follows the guide, with the friend that it asks for coins and a first file.
type operator struct {
	*testing.T
	net    *devnet.Network
	m      *machine
	build  string
	shells map[string]*shell
	values map[string]string // of the variables that the guide leaves to its reader
	played map[string]func(context.Context) (string, error)
	met    map[string]bool // commands that were played and values that were set
}

// TestGuide types every command of the guide.
func TestGuide(t *testing.T) {
	o := &operator{T: t, shells: map[string]*shell{}, met: map[string]bool{}}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	o.begin(ctx)
	for _, b := range blocks(t) {
		for _, c := range b.commands {
			o.follow(ctx, b, c)
		}
	}
	for name := range o.values {
		if !o.met[name] {
			t.Errorf("the guide does not ask its reader for %s", name)
		}
	}
	for c := range o.played {
		if !o.met[c] {
			t.Errorf("the guide does not say %s", c)
		}
	}
}

// begin makes the network and the machine.
func (o *operator) begin(ctx context.Context) {
	var err error
	if o.build, err = filepath.Abs(*build); err != nil {
		o.Fatal(err)
	}
	if err := ownNames(); err != nil {
		o.Fatal(err)
	}
	dir := o.TempDir()
	if o.net, err = devnet.Start(ctx, devnet.Config{Home: filepath.Join(dir, "net"), Binary: filepath.Join(o.build, "cella"),
		Enclave: filepath.Join(o.build, "cella-enclave"), Namespaces: true, Tweak: shortDays}); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() {
		if err := o.net.Close(); err != nil {
			o.Error(err)
		}
	})
	if o.m, err = newMachine(*image, os.Getenv(inside), dir, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), outer)); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() {
		for _, s := range o.shells {
			s.close()
		}
		if o.m.service != nil {
			o.Log("the node said at last:\n" + o.m.said(60))
			_ = o.m.stop()
		}
	})
	o.Logf("the machine is a layer over %s", *image)
	o.shells["#"] = o.open(o.m.inside("bash", "--noprofile", "--norc"))
	if _, _, err := o.shells["#"].run(ctx, "cd"); err != nil {
		o.Fatal(err)
	}
	friend := exec.Command("bash", "--noprofile", "--norc")
	friend.Dir = o.TempDir()
	friend.Env = append(os.Environ(), "PATH="+o.build+":"+os.Getenv("PATH"), "CELLA_HOME="+o.net.User.Home)
	o.shells["friend$"] = o.open(friend)

	var peers []string
	for _, n := range o.net.Nodes {
		peers = append(peers, n.NodeID+"@"+n.P2P)
	}
	o.values = map[string]string{"NODE": o.net.Nodes[0].RPC, "PEERS": strings.Join(peers, ","), "ADDRESS": address, "SPACE": "128MiB", "SECTORS": "12",
		"FRIEND": o.net.User.Address, "OPERATOR": ""} // that one is made on the way
	o.played = map[string]func(context.Context) (string, error){
		"build$ .ci/setup": func(ctx context.Context) (string, error) { return o.checked(ctx, "sh", "-n", ".ci/setup") },
		"build$ make build": func(ctx context.Context) (string, error) {
			return o.checked(ctx, "make", "--dry-run", "build")
		},
		"build$ scp build/cella build/cella-enclave genesis.json root@198.51.100.20:": o.bring,

		"# systemctl daemon-reload":            func(context.Context) (string, error) { return "", nil }, // the unit is read at each start
		"# systemctl enable --now cella":       func(context.Context) (string, error) { return "", o.m.start() },
		"# systemctl start cella":              func(context.Context) (string, error) { return "", o.m.start() },
		"# systemctl stop cella":               func(context.Context) (string, error) { return "", o.m.stop() },
		"# systemctl disable --now cella":      func(context.Context) (string, error) { return "", o.m.stop() },
		"# journalctl --unit cella --no-pager": func(context.Context) (string, error) { return o.m.said(200), nil },
	}
}

// shortDays lets a first payment come soon: a day of the market has as many blocks as minutes.
func shortDays(g app.Genesis) error {
	var mk market.GenesisState
	return g.Change("market", &mk, func() error {
		mk.Params.DayBlocks, mk.Params.MaxBlocks = 24*60, 365*24*60
		return nil
	})
}

func (o *operator) open(cmd *exec.Cmd) *shell {
	o.Helper()
	s, err := open(cmd)
	if err != nil {
		o.Fatal(err)
	}
	return s
}

// follow types one command, or plays it, and compares what came with what the guide shows.
func (o *operator) follow(ctx context.Context, b block, c command) {
	o.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no end after %v", patience))
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	if gone := o.m.gone; o.m.service != nil {
		go func() { // nothing is worth waiting for without the node
			select {
			case <-gone:
				give(errors.New("the node ended by itself"))
			case <-ctx.Done():
			}
		}()
	}
	began := time.Now()
	out, err := o.do(ctx, b, c)
	o.Logf("line %d: %s %s\n%s\n[%.1fs]", c.line, c.prompt, c.text, out, time.Since(began).Seconds())
	if err != nil {
		o.Fatalf("docs/operators.md:%d: %s: %v", c.line, c.text, err)
	}
	if line := missing(c.output, out); line != "" {
		o.Errorf("docs/operators.md:%d: %s: nothing of what came looks like %q, or not in this order", c.line, c.text, line)
	}
}

func (o *operator) do(ctx context.Context, b block, c command) (string, error) {
	full := c.prompt + " " + c.text
	switch play := o.played[full]; {
	case b.mark == "played" && play == nil:
		return "", fmt.Errorf("nobody knows how to play this")
	case b.mark == "played":
		o.met[full] = true
		return play(ctx)
	case play != nil:
		return "", fmt.Errorf("this can only be played: mark its block")
	}
	text := c.text
	switch {
	case b.mark == "yours":
		name, _, _ := strings.Cut(text, "=")
		value, known := o.values[name]
		if !known {
			return "", fmt.Errorf("nobody knows a value for it")
		}
		if o.met[name] = true; name == "OPERATOR" {
			var err error
			if value, _, err = o.shells["$"].run(ctx, "cella keys show operator --address"); err != nil {
				return "", err
			}
		}
		text = name + "='" + value + "'"
	case c.prompt == "#" && strings.HasPrefix(text, "apt-get ") && *image != "/": // this computer has them already
		out, err := o.m.apt(ctx, text)
		return string(out), err
	case c.prompt == "#" && text == "su - cella": // a terminal of its own
		o.shells["$"] = o.open(o.m.inside("su", "-", "cella"))
		_, _, err := o.shells["$"].run(ctx, "pwd")
		return "", err
	case strings.HasPrefix(text, "cella node drain"):
		if err := o.hire(3); err != nil {
			return "", err
		}
	}
	s := o.shells[c.prompt]
	if s == nil {
		return "", fmt.Errorf("there is no terminal with the prompt %s", c.prompt)
	}
	out, status, err := s.run(ctx, text)
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d", status)
	}
	return out, err
}

// checked runs something at the root of the repository.
func (o *operator) checked(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "../.."
	_, err := cmd.CombinedOutput()
	return "", err
}

// bring takes the programs and the network's genesis to the machine, and nothing else.
func (o *operator) bring(context.Context) (string, error) {
	for from, to := range map[string]string{filepath.Join(o.build, "cella"): "cella", filepath.Join(o.build, "cella-enclave"): "cella-enclave",
		filepath.Join(o.net.Nodes[0].Home, "config", "genesis.json"): "genesis.json"} {
		if err := o.m.bring(from, filepath.Join("root", to)); err != nil {
			return "", err
		}
	}
	return "", nil
}

// hire makes one of the network's own nodes as cheap as the new one, so that somebody can take over from it.
func (o *operator) hire(node int) error {
	path := filepath.Join(o.net.Nodes[node].Home, "config", "cella.toml")
	cfg, err := worker.LoadConfig(path)
	if err != nil {
		return err
	}
	cfg.Ask.Price = 1
	if err := cfg.Save(path); err != nil {
		return err
	}
	if err := o.net.Stop(node); err != nil {
		return err
	}
	return o.net.StartNode(node)
}

// TestSettings holds the settings that the guide shows against what a node reads.
func TestSettings(t *testing.T) {
	shown := 0
	for _, b := range blocks(t) {
		switch b.language {
		case "console":
		case "toml":
			shown++
			var c worker.Config
			if err := toml.NewDecoder(strings.NewReader(strings.Join(b.text, "\n"))).DisallowUnknownFields().Decode(&c); err != nil {
				t.Errorf("docs/operators.md:%d: %v", b.line, err)
			}
		default:
			t.Errorf("docs/operators.md:%d: a block of %q is held against nothing", b.line, b.language)
		}
	}
	if shown == 0 {
		t.Error("the guide shows no settings")
	}
}

var (
	paramRE  = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `(\\w+)` \\| ([\\d,]+)\\b")
	metricRE = regexp.MustCompile("`cella_(\\w+)")
	saidRE   = regexp.MustCompile("(?m)^\\| `([a-z][^`|]*)` \\| ")
	usageRE  = regexp.MustCompile(`Usage:\n  (cella(?: [a-z][a-z-]*)*)(.*)`)
	spokenRE = regexp.MustCompile("`(cella(?: [a-z]+(?:-[a-z]+)*)+)((?: --[a-z-]+)*)[^`]*`")
)

// TestParams holds the numbers of the guide against those with which a chain begins unless its founders say otherwise.
func TestParams(t *testing.T) {
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	g := a.DefaultGenesis().Modules
	rows := paramRE.FindAllStringSubmatch(text(t), -1)
	if len(rows) < 10 {
		t.Fatalf("the guide has %d numbers of the chain", len(rows))
	}
	for _, row := range rows {
		var module struct {
			Params map[string]any `json:"params"`
		}
		if err := json.Unmarshal(g[row[1]], &module); err != nil {
			t.Fatal(err)
		}
		want := module.Params[row[2]]
		if coin, ok := want.(map[string]any); ok {
			want = coin["amount"]
		}
		if got := strings.ReplaceAll(row[3], ",", ""); fmt.Sprint(want) != got {
			t.Errorf("%s %s is %v by default; the guide says %s", row[1], row[2], want, got)
		}
	}
}

// TestWords finds the log lines, metrics and commands of which the guide speaks.
func TestWords(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"../../worker/*.go", "../../worker/disk/*.go", "../../cmd/cella/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(b)
		}
	}
	guide, code := text(t), sources.String()
	_, logs, ok := strings.Cut(guide, "## What the log says\n")
	logs, _, _ = strings.Cut(logs, "\n## ")
	said := saidRE.FindAllStringSubmatch(logs, -1)
	if !ok || len(said) < 8 {
		t.Fatalf("the guide explains %d log lines", len(said))
	}
	for _, m := range said {
		if !strings.Contains(code, m[1]) {
			t.Errorf("no node logs %q", m[1])
		}
	}
	metrics := metricRE.FindAllStringSubmatch(guide, -1)
	if len(metrics) < 5 {
		t.Fatalf("the guide names %d metrics", len(metrics))
	}
	for _, m := range metrics {
		if !strings.Contains(code, `"`+m[1]+`"`) {
			t.Errorf("no worker counts cella_%s", m[1])
		}
	}
	var seen []string
	for _, m := range spokenRE.FindAllStringSubmatch(guide, -1) {
		if slices.Contains(seen, m[0]) {
			continue
		}
		seen = append(seen, m[0])
		words := strings.Fields(m[1])
		out, err := exec.Command(filepath.Join(*build, words[0]), append(words[1:], "--help")...).CombinedOutput()
		usage := usageRE.FindStringSubmatch(string(out))
		if err != nil || usage == nil || !strings.HasPrefix(m[1]+" ", usage[1]+" ") || len(usage[1]) < len(m[1]) && !strings.Contains(usage[2], "<") {
			t.Errorf("%s is no command: %v\n%s", m[0], err, out)
		}
		for _, flag := range strings.Fields(m[2]) {
			if !strings.Contains(string(out), flag+" ") {
				t.Errorf("%s has no %s", m[1], flag)
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("the guide speaks of %d commands", len(seen))
	}
}

func text(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
