// Whom TLS believes: Mozilla's roots, as the Go project publishes them in a module. Not those of the machine that builds:
// the module's version and checksum stand in go.mod and go.sum, so every machine makes the same file.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const rootsPath = "golang.org/x/crypto/x509roots/fallback"

func roots() ([]byte, error) {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		// Mozilla believes these for certificates from before some day only. A file can't say that, so they are left out.
		if root.Constraint != nil {
			continue
		}
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return nil, fmt.Errorf("a root of %s can't be read: %w", rootsPath, err)
		}
		fmt.Fprintf(&file, "# %s\n", certificate.Subject)
		if err := pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return file.Bytes(), nil
}

// The module of the roots, as it was compiled in.
func rootsModule() (*debug.Module, error) {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, module := range info.Deps {
			if module.Path == rootsPath {
				return module, nil
			}
		}
	}
	return nil, fmt.Errorf("built without %s", rootsPath)
}
