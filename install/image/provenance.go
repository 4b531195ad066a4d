// Where the image is from: an in-toto statement with the SLSA predicate for builds, version 1. It says no times and no
// machine, so that who builds the same again gets the same statement and can compare it byte by byte.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What the external parameters of such a build mean stands in docs/image.md.
const buildType = "https://agent.tk8s.io/image/v1"

type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type predicate struct {
	BuildDefinition definition `json:"buildDefinition"`
	RunDetails      details    `json:"runDetails"`
}

type definition struct {
	BuildType            string            `json:"buildType"`
	ExternalParameters   map[string]string `json:"externalParameters"`
	InternalParameters   map[string]string `json:"internalParameters"`
	ResolvedDependencies []resource        `json:"resolvedDependencies"`
}

type details struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
	Byproducts []resource `json:"byproducts"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
	// For what has no digest in the statement's own terms.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// The statement, and its predicate alone.
func provenanceOf(request *request, programs *programs, digest v1.Hash, bill []byte) ([]byte, []byte, error) {
	lock, err := os.ReadFile(request.lock)
	if err != nil {
		return nil, nil, err
	}
	source := resource{Name: "source", Digest: map[string]string{"gitCommit": request.revision}}
	if request.source != "" {
		source.URI = "git+" + request.source
	}
	it := statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []resource{{Name: request.name, Digest: map[string]string{"sha256": digest.Hex}}},
		PredicateType: "https://slsa.dev/provenance/v1",
	}
	it.Predicate.BuildDefinition = definition{
		BuildType:          buildType,
		ExternalParameters: map[string]string{"platform": request.platform.String(), "name": request.name, "version": request.version},
		InternalParameters: map[string]string{"rust": request.rust, "go": runtime.Version(), "cc": request.c, "libc": request.libc},
		ResolvedDependencies: []resource{
			source, file("Cargo.lock", lock), module(programs.kustomize.module), module(programs.helm.module), module(programs.roots.module),
		},
	}
	it.Predicate.RunDetails.Builder.ID = request.builder
	it.Predicate.RunDetails.Byproducts = []resource{file(billFile, bill)}
	whole, err := json.MarshalIndent(it, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	predicate, err := json.MarshalIndent(it.Predicate, "", "  ")
	return whole, predicate, err
}

func file(name string, content []byte) resource {
	return resource{Name: name, Digest: map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256(content))}}
}

func module(it *debug.Module) resource {
	return resource{URI: "pkg:golang/" + it.Path + "@" + it.Version, Annotations: map[string]string{"go.sum": it.Sum}}
}
