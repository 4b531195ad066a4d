// The bill of materials, as CycloneDX: every file of the image by its digest, and what each is made of. Of the agent that is
// each crate that is linked into it, from `cargo tree`, with the checksum of Cargo.lock; of a Go program each module, as the
// program itself says. What ran only while building (build scripts, procedural macros) is not in it.
//
// Licences of Go modules are not stated: Go does not know them.
package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Components, and who is made of whom.
type bill struct {
	components []cdx.Component
	known      map[string]bool
	uses       []cdx.Dependency
}

func billOf(request *request, programs *programs, layers []layer, digest v1.Hash) ([]byte, error) {
	it := &bill{known: map[string]bool{}}
	agent, err := it.addAgent(request)
	if err != nil {
		return nil, err
	}
	made := map[*program]string{programs.agent: agent, programs.roots: it.addModule(programs.roots.module)}
	for _, program := range []*program{programs.kustomize, programs.helm} {
		made[program] = it.addGo(program)
	}
	image := cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: request.name, Version: request.version,
		Hashes: sha256Hash(digest.Hex), Licenses: licences("Apache-2.0"),
	}
	it.uses = append(it.uses, cdx.Dependency{Ref: image.BOMRef, Dependencies: it.addFiles(layers, made)})
	document := cdx.NewBOM()
	document.SerialNumber = serial(digest.Hex)
	document.Metadata = &cdx.Metadata{Timestamp: request.created.Format(time.RFC3339), Component: &image}
	document.Components, document.Dependencies = &it.components, &it.uses
	var written bytes.Buffer
	err = cdx.NewBOMEncoder(&written, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(document, cdx.SpecVersion1_6)
	return written.Bytes(), err
}

func (it *bill) add(component cdx.Component) string {
	if !it.known[component.BOMRef] {
		it.known[component.BOMRef] = true
		it.components = append(it.components, component)
	}
	return component.BOMRef
}

func (it *bill) addFiles(layers []layer, made map[*program]string) *[]string {
	var files []string
	for _, layer := range layers {
		for _, entry := range layer.entries {
			if entry.directory() {
				continue
			}
			ref := it.add(cdx.Component{
				BOMRef: "/" + entry.path, Type: cdx.ComponentTypeFile, Name: "/" + entry.path, Hashes: sha256Hash(entry.digest()),
			})
			if entry.from != nil {
				it.uses = append(it.uses, cdx.Dependency{Ref: ref, Dependencies: &[]string{made[entry.from]}})
			}
			files = append(files, ref)
		}
	}
	return &files
}

// A line of `cargo tree --prefix depth --format '|{p}|{l}|'`: how deep, name and version, the directory of what is ours, licence.
var crate = regexp.MustCompile(`^(\d+)\|(\S+) v(\S+)( \(/[^)]*\))?\|([^|]*)\|`)

// The crates of the agent, and beside them what else is linked into it.
func (it *bill) addAgent(request *request) (string, error) {
	told, err := os.ReadFile(request.crates)
	if err != nil {
		return "", err
	}
	checksums, err := checksums(request.lock)
	if err != nil {
		return "", err
	}
	uses := map[string][]string{}
	// Who stands above a line.
	var above, order []string
	for line := range strings.Lines(string(told)) {
		match := crate.FindStringSubmatch(line)
		if match == nil {
			return "", fmt.Errorf("%s: what does this line of `cargo tree` say? %q", request.crates, line)
		}
		name, version, licence := match[2], match[3], match[5]
		component := cdx.Component{BOMRef: "cargo:" + name + "@" + version, Type: cdx.ComponentTypeLibrary, Name: name, Version: version}
		if licence != "" {
			component.Licenses = licences(strings.ReplaceAll(licence, "/", " OR "))
		}
		if ours := match[4] != ""; !ours {
			checksum, found := checksums[name+" "+version]
			if !found {
				return "", fmt.Errorf("%s has no checksum of %s %s", request.lock, name, version)
			}
			component.PackageURL, component.Hashes = "pkg:cargo/"+name+"@"+version, sha256Hash(checksum)
		}
		var depth int
		fmt.Sscan(match[1], &depth)
		if depth == 0 {
			component.Type = cdx.ComponentTypeApplication
		}
		if !it.known[component.BOMRef] {
			order = append(order, component.BOMRef)
		}
		above = append(above[:depth], it.add(component))
		if depth > 0 {
			user := above[depth-1]
			uses[user] = append(uses[user], component.BOMRef)
		}
	}
	if len(order) == 0 {
		return "", fmt.Errorf("%s is empty", request.crates)
	}
	agent := order[0]
	uses[agent] = append(uses[agent], it.add(cdx.Component{
		BOMRef: "rust-std", Type: cdx.ComponentTypeLibrary, Name: "rust-std", Version: request.rust, Licenses: licences("MIT OR Apache-2.0"),
	}), it.add(cdx.Component{
		BOMRef: "glibc", Type: cdx.ComponentTypeLibrary, Name: "glibc", Version: request.libc, Licenses: licences("LGPL-2.1-or-later"),
	}))
	for _, ref := range order {
		if used := unique(uses[ref]); len(used) > 0 {
			it.uses = append(it.uses, cdx.Dependency{Ref: ref, Dependencies: &used})
		}
	}
	return agent, nil
}

var locked = regexp.MustCompile(`(?m)^name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "([0-9a-f]{64})"$`)

// The checksums of Cargo.lock, by "name version".
func checksums(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, match := range locked.FindAllStringSubmatch(string(text), -1) {
		found[match[1]+" "+match[2]] = match[3]
	}
	return found, nil
}

func (it *bill) addGo(program *program) string {
	main := it.addModule(program.module)
	used := []string{it.addModule(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(program.golang, "go")})}
	for _, module := range program.modules {
		if module.Replace != nil {
			module = module.Replace
		}
		used = append(used, it.addModule(module))
	}
	it.uses = append(it.uses, cdx.Dependency{Ref: main, Dependencies: &used})
	return main
}

func (it *bill) addModule(module *debug.Module) string {
	url := "pkg:golang/" + module.Path + "@" + module.Version
	component := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: url}
	if module.Sum != "" {
		// Not a digest of a file: it covers the files of the module, as go.sum has it.
		component.Properties = &[]cdx.Property{{Name: "tk8s:go.sum", Value: module.Sum}}
	}
	return it.add(component)
}

func licences(expression string) *cdx.Licenses { return &cdx.Licenses{{Expression: expression}} }

func sha256Hash(hex string) *[]cdx.Hash {
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex}}
}

// A name for this bill, which is for one image: of the same image it is the same. In the form of a UUID of version 8.
func serial(hex string) string {
	return fmt.Sprintf("urn:uuid:%s-%s-8%s-a%s-%s", hex[:8], hex[8:12], hex[13:16], hex[17:20], hex[20:32])
}

func unique(refs []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, ref := range refs {
		if !seen[ref] {
			seen[ref] = true
			kept = append(kept, ref)
		}
	}
	return kept
}
