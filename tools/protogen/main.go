// Protogen turns the schemas under proto/ into Go under api/.
//
// It needs no protoc and no network: imports are read from the Go module cache at the versions that go.mod of the main
// module pins, so that a schema and the Go code that it imports can never come from two releases. The plugins are the
// programs named with -plugin.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// imports are the modules that hold imported schemas and the folders of them that are import roots.
var imports = []struct{ module, dir string }{
	{"github.com/cosmos/cosmos-sdk", "proto"},
	{"github.com/cosmos/cosmos-proto", "proto"},
	{"github.com/cosmos/gogoproto", "."},
	{"github.com/grpc-ecosystem/grpc-gateway", "third_party/googleapis"},
}

type pluginList []string

func (p *pluginList) String() string     { return strings.Join(*p, " ") }
func (p *pluginList) Set(s string) error { *p = append(*p, s); return nil }

func main() {
	root := flag.String("root", ".", "folder of the main module")
	var plugins pluginList
	flag.Var(&plugins, "plugin", "path[=parameter] of a plugin; may be repeated")
	flag.Parse()
	if err := run(*root, plugins); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(root string, plugins []string) error {
	src := filepath.Join(root, "proto")
	paths := []string{src}
	for _, m := range imports {
		dir, err := moduleDir(root, m.module)
		if err != nil {
			return err
		}
		paths = append(paths, filepath.Join(dir, m.dir))
	}
	names, err := schemas(src)
	if err != nil {
		return err
	}
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: paths}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(context.Background(), names...)
	if err != nil {
		return err
	}
	all := closure(files)
	order := map[string]int{}
	for i, f := range all {
		order[f.GetName()] = i
	}
	module, err := modulePath(root)
	if err != nil {
		return err
	}
	out := map[string]string{}
	for _, p := range plugins {
		bin, param, _ := strings.Cut(p, "=")
		for _, pkg := range packages(names) {
			slices.SortFunc(pkg, func(a, b string) int { return order[a] - order[b] })
			req := &pluginpb.CodeGeneratorRequest{FileToGenerate: pkg, ProtoFile: all, Parameter: proto.String(param)}
			if err := generate(bin, req, out); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(bin), err)
			}
		}
	}
	return write(root, module, out)
}

// schemas lists the .proto files under src, sorted, as import paths.
func schemas(src string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".proto" {
			return err
		}
		rel, err := filepath.Rel(src, p)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	slices.Sort(names)
	return names, err
}

// packages groups sorted names by folder: plugins generate one Go package a run.
func packages(names []string) [][]string {
	var out [][]string
	for i, n := range names {
		if i == 0 || path.Dir(n) != path.Dir(names[i-1]) {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], n)
	}
	return out
}

// closure returns the files and all that they import, each after its imports, as plugins want them.
func closure(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var out []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var visit func(f protoreflect.FileDescriptor)
	visit = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		im := f.Imports()
		for i := range im.Len() {
			visit(im.Get(i).FileDescriptor)
		}
		out = append(out, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range files {
		visit(f)
	}
	return out
}

// generate runs one plugin and adds its files to out. Names begin with their place in FileToGenerate, which comes after
// that of all imports: Go initialises the files of a package by name, and gogoproto resolves a schema's imports while it is
// initialised. What isn't there yet becomes a message without fields, which wallets would sign as empty.
func generate(bin string, req *pluginpb.CodeGeneratorRequest, out map[string]string) error {
	in, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	cmd := exec.Command(bin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return err
	}
	var res pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(raw, &res); err != nil {
		return err
	}
	if res.Error != nil {
		return fmt.Errorf("%s", *res.Error)
	}
	for _, f := range res.File {
		dir, base := path.Split(f.GetName())
		stem, _, _ := strings.Cut(base, ".")
		place := slices.IndexFunc(req.FileToGenerate, func(n string) bool { return path.Base(n) == stem+".proto" })
		name := fmt.Sprintf("%s%02d_%s", dir, place+1, base)
		if out[name] != "" || place < 0 {
			return fmt.Errorf("%s is generated twice or for no schema", f.GetName())
		}
		out[name] = f.GetContent()
	}
	return nil
}

// write replaces the generated files under api/ by out, so that a schema that is gone leaves nothing behind.
func write(root, module string, out map[string]string) error {
	keep := map[string]bool{}
	for name, content := range out {
		rel, ok := strings.CutPrefix(name, module+"/api/")
		if !ok {
			return fmt.Errorf("%s: go_package lies outside of %s/api", name, module)
		}
		p := filepath.Join(root, "api", filepath.FromSlash(rel))
		keep[p] = true
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if old, err := os.ReadFile(p); err == nil && string(old) == content {
			continue // keep the time stamp: nothing needs to be rebuilt
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return filepath.WalkDir(filepath.Join(root, "api"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || keep[p] || !(strings.HasSuffix(p, ".pb.go") || strings.HasSuffix(p, ".pb.gw.go")) {
			return err
		}
		return os.Remove(p)
	})
}

func moduleDir(root, module string) (string, error) {
	out, err := goList(root, "-f", "{{.Dir}}", module)
	if err == nil && out == "" {
		err = fmt.Errorf("not in the module cache; run go mod download %s", module)
	}
	return out, err
}

func modulePath(root string) (string, error) { return goList(root) }

func goList(root string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"list", "-m"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
