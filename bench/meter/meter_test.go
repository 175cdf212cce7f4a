package meter

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestFamilyIsFoundAndMetered(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all, err := Family(os.Getpid())
	if err != nil || all[0] != os.Getpid() || !slices.Contains(all, cmd.Process.Pid) {
		t.Errorf("%v, %v: want this process and %d", all, err, cmd.Process.Pid)
	}
	for _, pid := range all {
		if used, err := CPU(pid); err != nil || used < 0 {
			t.Errorf("process %d: %v, %v", pid, used, err)
		}
	}
	if _, err := ReadBytes(os.Getpid()); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := CPU(cmd.Process.Pid); err == nil {
		t.Error("a process that is gone has a clock")
	}
}
