package rule

import (
	"testing"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// The first instant of each day is the one that a search through all quarters of an hour finds.
func TestStartOfDay(t *testing.T) {
	for _, name := range []string{
		"UTC", "Europe/London", "America/New_York", "America/Sao_Paulo", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Asia/Beirut", "Asia/Gaza",
	} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for at := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2027; at = at.Add(15 * time.Minute) {
			day := at.In(zone).Format(time.DateOnly)
			if day > last && last != "" {
				y, m, d := at.In(zone).Date()
				if got := startOfDay(y, m, d, zone); got != event.At(at) {
					t.Errorf("%s %s begins at %s, want %s", name, day, got, at)
				}
			}
			last = max(last, day)
		}
	}
}

func TestZoneOfTheCustomer(t *testing.T) {
	z := newZones()
	for text, want := range map[string]string{`"Europe/London"`: "Europe/London", `"Local"`: "UTC", `"nowhere"`: "UTC", `""`: "UTC", `5`: "UTC", `"../../etc/passwd"`: "UTC"} {
		p := &profile.Profile{Traits: map[string]profile.Trait{zoneTrait: {Value: event.Object(text)}}}
		for range 2 {
			if got := z.of(p).String(); got != want {
				t.Errorf("zone %s is %s, want %s", text, got, want)
			}
		}
	}
}
