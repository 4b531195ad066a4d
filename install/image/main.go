// Makes the image of tk8s-agent without a daemon and without a distribution, and pushes it.
//
//	image build -platform linux/amd64 ... -out DIRECTORY    writes a layout, an archive of it, what is in it and where from
//	image push DIRECTORY NAME                               sends it to a registry
//
// `build` is a function of its arguments and of the files that they name: the same bytes go in, the same come out, on any
// machine with the same Go. It knows no clock, no network and no configuration. build.sh beside it says what goes in.
package main

import (
	"fmt"
	"os"
)

func main() {
	err := fmt.Errorf("usage: image build|push ..., see main.go")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "build":
			err = build(os.Args[2:])
		case "push":
			err = push(os.Args[2:])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}
