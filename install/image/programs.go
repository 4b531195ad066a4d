// The programs, as files and as what they say of themselves.
package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Something that is in the image and was made elsewhere.
type program struct {
	name  string
	bytes []byte
	// Where it is from: a Go module, or nothing for the agent.
	module *debug.Module
	// The modules in it and the Go that built it.
	modules []*debug.Module
	golang  string
	// What a program that isn't static needs of the machine that it was built on.
	libraries []library
}

type library struct {
	path  string
	bytes []byte
}

type programs struct {
	agent, kustomize, helm *program
	// Not a program, but as much a thing from elsewhere: the module that the certificates are in.
	roots *program
}

// In the order of their layers: the agent changes most often.
func (it *programs) all() []*program { return []*program{it.kustomize, it.helm, it.agent} }

func readPrograms(request *request) (*programs, error) {
	agent, err := read("tk8s-agent", request.agent, request.platform)
	if err != nil {
		return nil, err
	}
	if agent.libraries, err = libraries(request.agent, agent.bytes); err != nil {
		return nil, err
	}
	kustomize, err := readGo("kustomize", request)
	if err != nil {
		return nil, err
	}
	helm, err := readGo("helm", request)
	if err != nil {
		return nil, err
	}
	roots, err := rootsModule()
	if err != nil {
		return nil, err
	}
	return &programs{agent, kustomize, helm, &program{name: "roots", module: roots}}, nil
}

func read(name, path string, platform *v1.Platform) (*program, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s is no program for Linux: %w", path, err)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if machine, known := machines[platform.Architecture]; platform.OS != "linux" || !known || file.Machine != machine {
		return nil, fmt.Errorf("%s is for %s, and the image for %s", path, file.Machine, platform)
	}
	return &program{name: name, bytes: content}, nil
}

// A program that was built from a Go module: which ones are in it, it says itself.
func readGo(name string, request *request) (*program, error) {
	path := filepath.Join(request.renderers, name)
	program, err := read(name, path, request.platform)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(program.bytes))
	if err != nil {
		return nil, fmt.Errorf("%s does not say which modules it is built from: %w", path, err)
	}
	program.module, program.modules, program.golang = &info.Main, info.Deps, info.GoVersion
	return program, nil
}

var loaded = regexp.MustCompile(`(/\S+) \(0x[0-9a-f]+\)$`)

// The loader and the libraries of a program; nothing for one that is static, which is what an image that leaves this machine
// is made of.
func libraries(path string, content []byte) ([]library, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if !needsLoader(file) {
		return nil, nil
	}
	told, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("%s is not static, and ldd can't tell what it needs: %w", path, err)
	}
	var found []library
	for line := range strings.Lines(string(told)) {
		match := loaded.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		content, err := os.ReadFile(match[1])
		if err != nil {
			return nil, err
		}
		found = append(found, library{strings.TrimPrefix(match[1], "/"), content})
	}
	return found, nil
}

func needsLoader(file *elf.File) bool {
	for _, header := range file.Progs {
		if header.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
