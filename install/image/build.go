// From programs to an image: read what goes in, fill the layers, write the layout, say what is in it and where it is from.
package main

import (
	"flag"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What the image is made of, and what is said about it.
type request struct {
	platform *v1.Platform
	// The name without tag, for whoever imports the archive.
	name, version, revision, source, builder string
	// Of the revision: the one time that there is.
	created time.Time
	// Files: the agent, the directory of kustomize and helm, what `cargo tree` said of the agent, and Cargo.lock.
	agent, renderers, crates, lock string
	// Which compilers and which C library, in words.
	rust, c, libc string
	out           string
}

func build(arguments []string) error {
	request, err := parse(arguments)
	if err != nil {
		return err
	}
	programs, err := readPrograms(request)
	if err != nil {
		return err
	}
	layers, err := fill(programs)
	if err != nil {
		return err
	}
	image, err := assemble(request, layers)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	bill, err := billOf(request, programs, layers, digest)
	if err != nil {
		return err
	}
	provenance, predicate, err := provenanceOf(request, programs, digest, bill)
	if err != nil {
		return err
	}
	papers := map[string][]byte{
		billFile: bill, provenanceFile: provenance, predicateFile: predicate, digestFile: []byte(digest.String() + "\n"),
	}
	if err := writeAll(request, image, papers); err != nil {
		return err
	}
	return report(request, image, layers, digest)
}

func parse(arguments []string) (*request, error) {
	var it request
	var platform string
	var epoch int64
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.StringVar(&platform, "platform", "", "`OS/ARCHITECTURE` of the programs")
	flags.StringVar(&it.name, "name", "", "the image's name, without a tag")
	flags.StringVar(&it.version, "version", "", "its version, which is the tag")
	flags.StringVar(&it.revision, "revision", "", "the commit that it is built from")
	flags.Int64Var(&epoch, "epoch", 0, "the time of that commit, in seconds since 1970")
	flags.StringVar(&it.source, "source", "", "where the source is (optional)")
	flags.StringVar(&it.builder, "builder", "", "a URI for whoever builds")
	flags.StringVar(&it.agent, "agent", "", "the agent's program")
	flags.StringVar(&it.renderers, "renderers", "", "the directory of kustomize and helm")
	flags.StringVar(&it.crates, "crates", "", "what `cargo tree` says of the agent")
	flags.StringVar(&it.lock, "lock", "", "the Cargo.lock")
	flags.StringVar(&it.rust, "rust", "", "the version of the Rust compiler")
	flags.StringVar(&it.c, "c", "", "the version of the C compiler")
	flags.StringVar(&it.libc, "libc", "", "the version of the C library that is in the agent")
	flags.StringVar(&it.out, "out", "", "the directory that is written, or replaced")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	var missing error
	flags.VisitAll(func(given *flag.Flag) {
		if given.Name != "source" && (given.Value.String() == "" || given.Value.String() == "0") {
			missing = fmt.Errorf("-%s is missing", given.Name)
		}
	})
	if missing != nil {
		return nil, missing
	}
	it.created = time.Unix(epoch, 0).UTC()
	parsed, err := v1.ParsePlatform(platform)
	it.platform = parsed
	return &it, err
}

// Prints what a person wants to know of it.
func report(request *request, image v1.Image, layers []layer, digest v1.Hash) error {
	var packed, unpacked int64
	fmt.Printf("%-14s %9s %9s\n", "layer", "packed", "unpacked")
	sealed, err := image.Layers()
	if err != nil {
		return err
	}
	for index, layer := range layers {
		size, err := sealed[index].Size()
		if err != nil {
			return err
		}
		fmt.Printf("%-14s %6.1f MB %6.1f MB\n", layer.name, megabytes(size), megabytes(layer.size()))
		packed, unpacked = packed+size, unpacked+layer.size()
	}
	fmt.Printf("%-14s %6.1f MB %6.1f MB\n", "in all", megabytes(packed), megabytes(unpacked))
	fmt.Printf("%s:%s\n%s\n", request.name, request.version, digest)
	return nil
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
