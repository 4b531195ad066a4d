// What is in the image. Everything belongs to root and is read-only for whom the image runs as, but for two directories: the
// agent's data, and scratch. A volume is mounted over each, so the image runs with a read-only root.
package main

import (
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Whom it runs as: the number that images without a distribution have settled on, so that policies know it.
const user = 65532

// A directory that programs are looked for in; kustomize and helm are found beside the agent.
const binaries = "usr/local/bin"

// A file or, without content, a directory. The path has no slash at its beginning.
type entry struct {
	path    string
	mode    int64
	owner   int
	content []byte
	// What the bill says the file is made of.
	from *program
}

func (it entry) directory() bool { return it.content == nil }

func (it entry) digest() string { return fmt.Sprintf("%x", sha256.Sum256(it.content)) }

// Entries that change together. What seldom changes comes first, and nothing in a layer tells when it was made: a node that
// has helm does not fetch it again with the next agent.
type layer struct {
	name    string
	entries []entry
}

func (it layer) size() (sum int64) {
	for _, entry := range it.entries {
		sum += int64(len(entry.content))
	}
	return sum
}

func fill(programs *programs) ([]layer, error) {
	roots, err := roots()
	if err != nil {
		return nil, err
	}
	base := []entry{
		{path: "etc/passwd", mode: 0o644, content: []byte(passwd)},
		{path: "etc/group", mode: 0o644, content: []byte(group)},
		{path: "etc/nsswitch.conf", mode: 0o644, content: []byte(nsswitch)},
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots, from: programs.roots},
		{path: "etc/tk8s", mode: 0o755},
		{path: "tmp", mode: 0o1777},
		{path: "var/lib/tk8s", mode: 0o700, owner: user},
	}
	layers := []layer{{name: "base", entries: base}}
	for _, program := range programs.all() {
		entries := []entry{{path: binaries + "/" + program.name, mode: 0o755, content: program.bytes, from: program}}
		for _, library := range program.libraries {
			entries = append(entries, entry{path: library.path, mode: 0o755, content: library.bytes, from: program})
		}
		layers = append(layers, layer{name: program.name, entries: entries})
	}
	for index := range layers {
		layers[index].entries = withParents(layers[index].entries)
	}
	return layers, nil
}

const passwd = `root:x:0:0:root:/:/sbin/nologin
tk8s:x:65532:65532:tk8s-agent:/var/lib/tk8s:/sbin/nologin
`

const group = `root:x:0:
tk8s:x:65532:
`

// Without it the C library asks servers before it reads /etc/hosts, which is where pods have their own names.
const nsswitch = "hosts: files dns\n"

// The entries by path, with every directory above them, so that no unpacker has to think of a mode.
func withParents(entries []entry) []entry {
	known := map[string]bool{}
	for _, it := range entries {
		known[it.path] = true
	}
	for _, it := range slices.Clone(entries) {
		for above := path.Dir(it.path); above != "."; above = path.Dir(above) {
			if !known[above] {
				known[above] = true
				entries = append(entries, entry{path: above, mode: 0o755})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return entries
}
