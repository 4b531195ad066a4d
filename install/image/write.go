// What is left behind: a layout for tools, an archive of it for containerd, and beside them what is in it and where it is from.
package main

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

const (
	layoutDirectory = "layout"
	archiveFile     = "image.tar"
	digestFile      = "digest"
	billFile        = "bill.cdx.json"
	provenanceFile  = "provenance.json"
	// The predicate alone, which is what `cosign attest` takes: it makes and signs the statement around it.
	predicateFile = "predicate.json"
)

func writeAll(request *request, image v1.Image, papers map[string][]byte) error {
	for _, old := range []string{layoutDirectory, archiveFile} {
		if err := os.RemoveAll(filepath.Join(request.out, old)); err != nil {
			return err
		}
	}
	directory := filepath.Join(request.out, layoutDirectory)
	path, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	if err := path.WriteImage(image); err != nil {
		return err
	}
	named, err := descriptor(request, image)
	if err != nil {
		return err
	}
	if err := path.AppendDescriptor(*named); err != nil {
		return err
	}
	if err := archive(directory, filepath.Join(request.out, archiveFile)); err != nil {
		return err
	}
	for name, content := range papers {
		if err := os.WriteFile(filepath.Join(request.out, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// How the layout's index names the image. The library's own would call it an artifact, which it isn't.
func descriptor(request *request, image v1.Image) (*v1.Descriptor, error) {
	named, err := partial.Descriptor(image)
	if err != nil {
		return nil, err
	}
	named.ArtifactType = ""
	named.Platform = request.platform
	named.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": request.version,
		// What `ctr image import` calls it.
		"io.containerd.image.name": request.name + ":" + request.version,
	}
	return named, nil
}

// The layout as one file, in the order of names.
func archive(directory, target string) error {
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	err = filepath.WalkDir(directory, func(path string, found fs.DirEntry, err error) error {
		if err != nil || path == directory {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if found.IsDir() {
			header.Name, header.Mode, header.Typeflag = name+"/", 0o755, tar.TypeDir
			return writer.WriteHeader(header)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header.Size = int64(len(content))
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		_, err = writer.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return file.Close()
}
