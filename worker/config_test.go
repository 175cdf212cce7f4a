package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cella.toml")
	c := Config{Key: "operator", Disk: DiskConfig{Sectors: 7}, Ask: AskConfig{Price: 3, MaxSize: 1 << 40}, Content: ContentConfig{Listen: []string{"/ip4/127.0.0.1/tcp/1"}}}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(path)
	if err != nil || got.Key != c.Key || got.Disk != c.Disk || got.Ask != c.Ask || got.Content.Listen[0] != c.Content.Listen[0] {
		t.Fatalf("%+v (%v), want %+v", got, err, c)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "# hard quota") {
		t.Errorf("the file does not explain itself (%v)", err)
	}
	if err := os.WriteFile(path, append([]byte("sectros = 9\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(path); err == nil {
		t.Error("a misspelt key was taken")
	}
	if _, err := LoadConfig(path + "x"); !os.IsNotExist(err) {
		t.Errorf("%v, want the missing file's error", err)
	}
}
