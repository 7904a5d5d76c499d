package template

import (
	"errors"
	"io"

	"github.com/nikolalohinski/gonja/v2/loaders"
)

var errNoFiles = errors.New("templates cannot open files")

// noFiles is the loader of a template that may open nothing.
type noFiles struct{}

func (noFiles) Read(string) (io.Reader, error)         { return nil, errNoFiles }
func (noFiles) Resolve(string) (string, error)         { return "", errNoFiles }
func (noFiles) Inherit(string) (loaders.Loader, error) { return nil, errNoFiles }
