// From layers to an OCI image. What could differ between two builds is fixed here: order, owners and times.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func assemble(request *request, layers []layer) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, layer := range layers {
		sealed, err := seal(layer)
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: request.created}, CreatedBy: "install/image: " + layer.name}
		image, err = mutate.Append(image, mutate.Addendum{Layer: sealed, History: history, MediaType: types.OCILayer})
		if err != nil {
			return nil, err
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = request.platform.OS, request.platform.Architecture, v1.Time{Time: request.created}
	file.Config = v1.Config{
		// A number: "runAsNonRoot" can't be checked of a name.
		User:       strconv.Itoa(user) + ":" + strconv.Itoa(user),
		Env:        []string{"PATH=/" + binaries},
		Entrypoint: []string{"/" + binaries + "/tk8s-agent"},
		// Another command takes its place: `check`, `doctor`, `status`.
		Cmd:        []string{"run", "--config", "/etc/tk8s/agent.yaml"},
		WorkingDir: "/",
		Labels:     labels(request),
	}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, labels(request)).(v1.Image), nil
}

// What is said of it in the words of the OCI: as labels for who runs it, as annotations for who stores it.
func labels(request *request) map[string]string {
	said := map[string]string{
		"org.opencontainers.image.title":       "tk8s-agent",
		"org.opencontainers.image.description": "An in-cluster GitOps agent for Kubernetes: signed Git, applied layer by layer",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     request.version,
		"org.opencontainers.image.revision":    request.revision,
		"org.opencontainers.image.created":     request.created.Format(time.RFC3339),
	}
	if request.source != "" {
		said["org.opencontainers.image.source"] = request.source
	}
	return said
}

func seal(layer layer) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, entry := range layer.entries {
		if err := add(writer, entry); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}

func add(writer *tar.Writer, it entry) error {
	header := &tar.Header{Name: it.path, Mode: it.mode, Uid: it.owner, Gid: it.owner, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if it.directory() {
		header.Typeflag, header.Name = tar.TypeDir, it.path+"/"
	} else {
		header.Typeflag, header.Size = tar.TypeReg, int64(len(it.content))
	}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err := writer.Write(it.content)
	return err
}
