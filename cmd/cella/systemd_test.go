package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sections reads a unit file as systemd does: sections of KEY=VALUE, and nothing else but comments.
func sections(t *testing.T, text string) map[string]map[string][]string {
	t.Helper()
	out := map[string]map[string][]string{}
	section := ""
	for n, line := range strings.Split(text, "\n") {
		name, isSection := strings.CutPrefix(line, "[")
		key, value, isSetting := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isSection:
			section = strings.TrimSuffix(name, "]")
			out[section] = map[string][]string{}
		case isSetting && section != "" && regexp.MustCompile(`^[A-Za-z]+$`).MatchString(key):
			out[section][key] = append(out[section][key], value)
		default:
			t.Fatalf("line %d is no line of a unit: %q", n+1, line)
		}
	}
	return out
}

func TestUnit(t *testing.T) {
	for name, tc := range map[string]struct {
		unit
		start, write string
		private      bool
	}{
		"usual": {unit{User: "cella", Binary: "/usr/local/bin/cella", Home: "/home/op/.cella", Disk: "/home/op/.cella/disk"},
			"/usr/local/bin/cella node start --home /home/op/.cella", "/home/op/.cella", true},
		"a disk elsewhere": {unit{User: "cella", Binary: "/usr/bin/cella", Home: "/var/lib/cella", Disk: "/mnt/disk"},
			"/usr/bin/cella node start --home /var/lib/cella", "/var/lib/cella /mnt/disk", true},
		"a folder whose name begins like the home's": {unit{User: "cella", Binary: "/usr/bin/cella", Home: "/var/lib/cella", Disk: "/var/lib/cella2"},
			"/usr/bin/cella node start --home /var/lib/cella", "/var/lib/cella /var/lib/cella2", true},
		"names that mean something to systemd": {unit{User: "cella", Binary: "/opt/my cella/cella", Home: `/srv/100%/a"b$c`, Disk: "/srv/$d"},
			`"/opt/my cella/cella" node start --home "/srv/100%%/a\"b$$c"`, `"/srv/100%%/a\"b$c" /srv/$d`, true},
		"a home that a private /tmp would hide": {unit{User: "cella", Binary: "/usr/bin/cella", Home: "/tmp/x", Disk: "/tmp/x/disk"},
			"/usr/bin/cella node start --home /tmp/x", "/tmp/x", false},
		"an enclave that a private /tmp would hide": {unit{User: "cella", Binary: "/usr/bin/cella", Home: "/x", Disk: "/x/disk", Enclave: "/var/tmp/e"},
			"/usr/bin/cella node start --home /x", "/x", false},
	} {
		t.Run(name, func(t *testing.T) {
			all := sections(t, tc.String())
			if got := sorted(all); !slices.Equal(got, []string{"Install", "Service", "Unit"}) {
				t.Errorf("sections %v", got)
			}
			s := all["Service"]
			for key, want := range map[string]string{
				"ExecStart": tc.start, "ReadWritePaths": tc.write, "User": "cella", "Restart": "on-failure", "LimitNOFILE": "65536",
				"NoNewPrivileges": "yes", "ProtectSystem": "strict", "CapabilityBoundingSet": "", "LimitCORE": "0",
			} {
				if !slices.Equal(s[key], []string{want}) {
					t.Errorf("%s is %q, want %q", key, s[key], want)
				}
			}
			if private := s["PrivateTmp"] != nil; private != tc.private {
				t.Errorf("PrivateTmp: %v", private)
			}
			// The enclave filters its calls itself, measures /proc/self/exe, and locks memory for its keys.
			for _, key := range []string{"SystemCallFilter", "MemoryDenyWriteExecute", "ProcSubset", "ProtectProc", "PrivateDevices", "RootDirectory", "DynamicUser"} {
				if s[key] != nil {
					t.Errorf("%s would keep the enclave from its own hardening or its platform", key)
				}
			}
			if !slices.Equal(s["LimitMEMLOCK"], []string{"64M"}) {
				t.Errorf("LimitMEMLOCK is %q", s["LimitMEMLOCK"])
			}
		})
	}
}

func sorted(m map[string]map[string][]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Where systemd's own checker is at hand it agrees; the format is held by the test above in any case.
func TestUnitPassesSystemdsCheck(t *testing.T) {
	checker, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("%v: the format alone was checked", err)
		return
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cella.service")
	u := unit{User: "root", Binary: self, Home: dir, Disk: filepath.Join(dir, "disk")}
	if err := os.WriteFile(path, []byte(u.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(checker, "verify", "--man=no", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "cella.service") && !strings.Contains(line, "Documentation") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if err != nil {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}
