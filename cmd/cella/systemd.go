package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/worker"
)

// systemUnit is where systemd looks for services that an administrator made.
const systemUnit = "/etc/systemd/system/cella.service"

func homeUnit(home string) string { return filepath.Join(home, "config", "cella.service") }

// unit is a service of systemd.
type unit struct {
	User   string
	Binary string // absolute, as all paths
	Home   string
	Disk   string
	// Enclave is a program elsewhere than beside the binary; empty otherwise.
	Enclave string
}

// unitTemplate shuts the host in; the enclave, its child, shuts itself in further and needs for that: memory that counts as locked
// (memfd_secret), prctl, clone, landlock and seccomp. So no system call filter is set here, and none of the namespaces that would hide
// /proc/self/exe, which the enclave measures. Devices stay as they are: the platforms' lie in /dev.
const unitTemplate = `[Unit]
Description=Cella storage node
Documentation=https://github.com/cella-network/cella
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=%[1]s
WorkingDirectory=%[6]s
ExecStart=%[2]s node start --home %[3]s
Restart=on-failure
RestartSec=5
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=60

LimitNOFILE=65536
LimitMEMLOCK=64M
LimitCORE=0

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths=%[4]s
%[5]sProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=multi-user.target
`

// String writes the unit file.
func (u unit) String() string {
	paths := quoted(u.Home)
	if !below(u.Disk, u.Home) {
		paths += " " + quoted(u.Disk)
	}
	private := "PrivateTmp=yes\n"
	for _, p := range []string{u.Home, u.Disk, u.Binary, u.Enclave} {
		if below(p, "/tmp") || below(p, "/var/tmp") { // these would not be seen
			private = ""
		}
	}
	return fmt.Sprintf(unitTemplate, u.User, command(u.Binary), command(u.Home), paths, private, specified(u.Home))
}

// specified writes a path where systemd takes all of a line, but for its specifiers.
func specified(path string) string { return strings.ReplaceAll(path, "%", "%%") }

// quoted writes a path where systemd splits a line into words.
func quoted(path string) string {
	path = specified(path)
	if !strings.ContainsAny(path, " \t\"'\\") {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// command writes a path as a word of a command line, where variables are put in besides.
func command(path string) string { return strings.ReplaceAll(quoted(path), "$", "$$") }

// typed writes a path as a word for a shell.
func typed(path string) string {
	if !strings.ContainsAny(path, " \t\"'\\$&|;<>()*?[]#~`!{}") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// service is the unit of a home, run by the user that the operator names, or that this process runs as.
func service(home string, cfg worker.Config, name string) (unit, error) {
	self, err := os.Executable()
	if err != nil {
		return unit{}, err
	}
	if home, err = filepath.Abs(home); err != nil {
		return unit{}, err
	}
	u := unit{User: name, Binary: self, Home: home, Enclave: cfg.Enclave}
	if u.Disk, err = filepath.Abs(diskDir(home, cfg)); err != nil {
		return unit{}, err
	}
	if u.User == "" {
		if os.Geteuid() == 0 {
			u.User = "cella" // a node needs no root
		} else if me, err := user.Current(); err == nil {
			u.User = me.Username
		} else {
			return unit{}, err
		}
	}
	for _, p := range []string{u.User, u.Binary, u.Home, u.Disk} {
		if strings.ContainsAny(p, "\n\r\x00") {
			return unit{}, &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("%q can't be written into a unit file", p)}
		}
	}
	return u, nil
}

// writeUnit writes the unit of a home and says what to do with it. Path is empty for the usual place: systemd's for root, the home's for
// others. A unit that is there already stays.
func writeUnit(out io.Writer, home, path, name string) error {
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name it with --home"}
	}
	u, err := service(home, cfg, name)
	if err != nil {
		return err
	}
	if path == "" {
		if path = homeUnit(u.Home); os.Geteuid() == 0 {
			path = systemUnit
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &client.Error{Kind: client.KindUsage, What: path + " exists already", Hint: "move it away, or name another place with --unit"}
	}
	if err != nil {
		return &client.Error{Kind: client.KindLocal, What: "unit", Cause: err, Hint: "name another place with --unit"}
	}
	_, err = io.WriteString(f, u.String())
	if err = errors.Join(err, f.Close()); err != nil {
		return &client.Error{Kind: client.KindLocal, What: "unit", Cause: err}
	}
	fmt.Fprintf(out, "unit      %s\n\nIt runs the node as user %s. To start it now and at every boot, run\n\n", path, u.User)
	var steps []string
	if _, err := user.Lookup(u.User); err != nil {
		steps = append(steps, "useradd --system --home-dir "+typed(u.Home)+" "+u.User)
	}
	if !below(u.Disk, u.Home) {
		steps = append(steps, "mkdir -p "+typed(u.Disk))
	}
	if me, err := user.Current(); err != nil || me.Username != u.User {
		steps = append(steps, "chown -R "+u.User+": "+strings.Join(writable(u), " "))
	}
	if path != systemUnit {
		steps = append(steps, "cp "+typed(path)+" "+systemUnit)
	}
	steps = append(steps, "systemctl daemon-reload", "systemctl enable --now cella")
	for _, s := range steps {
		if os.Geteuid() != 0 {
			s = "sudo " + s
		}
		fmt.Fprintln(out, "  "+s)
	}
	return nil
}

func writable(u unit) []string {
	if below(u.Disk, u.Home) {
		return []string{typed(u.Home)}
	}
	return []string{typed(u.Home), typed(u.Disk)}
}
