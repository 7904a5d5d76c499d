package main

import (
	"errors"
	"os"

	"attune/config"
)

// configCommand shows the effective configuration.
type configCommand struct {
	Config string `placeholder:"FILE" help:"An attune.yaml (default: none, defaults and ATTUNE_ variables only)."`
}

// Run is the command.
func (c *configCommand) Run(s streams) error {
	loaded, err := config.Load(c.Config, os.Environ())
	if err != nil {
		return err
	}
	return loaded.Explain(s.out)
}

// asProblems tells whether err lists mistakes in files.
func asProblems(err error, into *config.Problems) bool { return errors.As(err, into) }
