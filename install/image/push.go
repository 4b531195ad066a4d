// From a layout to a registry. Who may write there is read from where every tool has it: ~/.docker/config.json and its helpers.
package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func push(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("usage: image push DIRECTORY NAME:TAG")
	}
	target, err := name.ParseReference(arguments[1], name.StrictValidation)
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(arguments[0], layoutDirectory))
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(manifest.Manifests) != 1 {
		return fmt.Errorf("the layout holds %d images, and not one", len(manifest.Manifests))
	}
	digest := manifest.Manifests[0].Digest
	image, err := index.Image(digest)
	if err != nil {
		return err
	}
	if err := remote.Write(target, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err
	}
	fmt.Println(target.Context().Digest(digest.String()))
	return nil
}
