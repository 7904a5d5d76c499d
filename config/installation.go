package config

import "attune/stages/normalize"

// Installation is what a workspace is checked against, and its scenarios run with: what attune.yaml says of mails' ways out
// and of customers' fields.
type Installation struct {
	// Destinations are the names that campaigns may use.
	Destinations []string
	// Normalize is how calls are read: which fields are personal, which go on at all, and when a call is too late.
	Normalize normalize.Settings
}

// DefaultInstallation has the defaults of attune.yaml, and these destinations.
func DefaultInstallation(destinations ...string) Installation {
	return Installation{Destinations: destinations, Normalize: normalize.DefaultSettings()}
}

// Installation is what a workspace is checked against.
func (c *Config) Installation() Installation {
	return Installation{Destinations: c.DestinationNames(), Normalize: c.Normalize}
}
