package app_test

import (
	"bytes"
	"os/exec"
	"testing"
)

// TestShippedAppCannotMisbehave: what is built without tags has none of byzantine.go.
func TestShippedAppCannotMisbehave(t *testing.T) {
	for tags, want := range map[string]bool{"": false, "byzantine": true} {
		cmd := exec.Command("go", "list", "-tags", tags, "-f", `{{join .GoFiles "\n"}}`, ".")
		cmd.Env = append(cmd.Environ(), "GOFLAGS=-buildvcs=false")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(out, []byte("byzantine.go")); got != want {
			t.Errorf("with the tags %q byzantine.go is built: %v, want %v", tags, got, want)
		}
	}
}
