package normalize

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"attune/pipeline/bus"
)

// identityRules are the rules of the package comment, by example: the profiles that the calls go to.
func identityRules() []struct{ name, calls, want string } {
	return []struct{ name, calls, want string }{
		{"an anonymous visitor keeps the profile", "1 track a=x\n2 track a=x\n3 track a=y", "a a b"},
		{"a user keeps the profile", "1 track u=anna\n2 track u=anna\n3 track u=ben", "a a b"},
		{"a new user takes over the anonymous profile", "1 track a=x\n2 identify u=anna a=x\n3 track u=anna\n4 track a=x", "a a a a"},
		{"a known user on a new device", "1 track u=anna\n2 track u=anna a=x\n3 track a=x", "a a a"},
		{"a known user signs in on a device that has a history: it becomes theirs, in the older profile",
			"1 track u=anna\n2 track a=x\n3 track u=anna a=x\n4 track a=x\n5 track u=anna", "a b a a a"},
		{"the device's profile is the older one", "1 track a=x\n2 track u=anna\n3 track u=anna a=x\n4 track a=x\n5 track u=anna", "a b a a a"},
		{"the other devices of the younger profile follow", "1 track a=x\n2 track u=anna a=y\n3 track u=anna a=x\n4 track a=y\n5 track a=x", "a b a a a"},
		{"three become one", "1 track a=x\n2 track a=y\n3 track u=anna\n4 track u=anna a=y\n5 track u=anna a=x\n6 track a=y\n7 track u=anna", "a b c b a a a"},
		{"a device that two users share does not make them one, whoever is the older",
			"1 track u=ben\n2 track u=anna a=x\n3 track u=ben a=x\n4 track a=x\n5 track u=anna a=x\n6 track u=ben\n7 track u=anna", "a b a a b a b"},
		{"two users share a device", "1 track a=x\n2 track u=anna a=x\n3 track u=ben a=x\n4 track a=x\n5 track u=anna a=x\n6 track a=x\n7 track u=ben", "a a b b a a b"},
		{"a user's other devices stay with the user when one is shared", "1 track u=anna a=x\n2 track u=anna a=y\n3 track u=ben a=x\n4 track a=y\n5 track a=x", "a a b a b"},
		{"a new user does not take over a profile of the first user's from another device", "1 track u=anna a=x\n2 track u=anna a=y\n3 track u=ben a=y\n4 track u=anna", "a a b a"},
		{"alias: an anonymous visitor becomes a user", "1 track a=x\n2 alias u=anna was=x\n3 track u=anna\n4 track a=x", "a a a a"},
		{"alias: a user gets another name", "1 track u=old\n2 alias u=new was=old\n3 track u=new\n4 track u=old", "a a a a"},
		{"alias: the new name is known, and the visitor becomes that user",
			"1 track u=anna\n2 track a=x\n3 alias u=anna was=x\n4 track a=x", "a b a a"},
		{"alias: two known users become one, in the older profile", "1 track u=old\n2 track u=new\n3 alias u=new was=old\n4 track u=old\n5 track u=new", "a b a a a"},
		{"alias: and that only by an alias", "1 track u=old\n2 track u=new\n3 identify u=new was=old\n4 track u=old\n5 track u=new", "a b b a b"},
		{"alias: of two visitors at once", "1 track a=x\n2 track a=y\n3 alias u=anna was=x a=y\n4 track a=y\n5 track u=anna", "a b a a a"},
		{"alias: both ways", "1 track u=old\n2 track u=new\n3 alias u=new was=old\n4 alias u=old was=new\n5 track u=new", "a b a a a"},
		{"alias: of nobody known", "1 alias u=anna was=x\n2 track a=x\n3 track u=anna", "a a a"},
		{"alias: no taking over from a third user", "1 track u=ben a=x\n2 alias u=anna was=x\n3 track u=ben", "a b a"},
		{"a user id and an anonymous id of the same text are two", "1 track u=x\n2 track a=x", "a b"},
		{"previousId counts in aliases only", "1 track a=x\n2 identify u=anna was=x", "a b"},
	}
}

func TestIdentityRules(t *testing.T) {
	b := newBench(t)
	for i, c := range identityRules() { // all calls of a rule in one batch
		b.publish(0, script(key("batch", i, "-"), c.calls)...)
	}
	b.drain(0)
	for i, c := range identityRules() { // and each in a batch of its own, on whatever partition
		for n, call := range script(key("single", i, "-"), c.calls) {
			b.publish(n%partitions, call)
			b.drain(n % partitions)
		}
	}
	profiles := b.profiles()
	for i, c := range identityRules() {
		for _, way := range []string{"batch", "single"} {
			if got := shape(profiles, key(way, i, "-"), ids(c.calls)...); got != c.want {
				t.Errorf("%s (%s): profiles %s, want %s\n%s", c.name, way, got, c.want, c.calls)
			}
		}
	}
}

// Sessions that meet the same new users and devices at the same time make one profile for each user, and no two
// users ever share one.
func TestRacingPartitions(t *testing.T) {
	b := newBench(t)
	chance := rand.New(rand.NewPCG(7, 11))
	const users, calls = 30, 250
	raw := []int{0, 1, 2, 3}
	for n := range calls {
		for _, p := range raw {
			u := n * users / calls // they move on together, so that all of them meet what is new
			line := fmt.Sprintf("%d-%d track u=u%d", p, n, u-chance.IntN(min(u, 2)+1))
			switch chance.IntN(4) {
			case 0:
				line += fmt.Sprintf(" a=d%d", chance.IntN(u+1)) // devices are shared
			case 1:
				line = fmt.Sprintf("%d-%d track a=d%d", p, n, chance.IntN(u+1))
			case 2:
				line = fmt.Sprintf("%d-%d alias u=u%d was=d%d", p, n, u, chance.IntN(u+1))
			}
			b.publish(p, script("", line)...)
		}
	}
	b.run(b.stage.Subscriber(), bus.NewPublisher(b.js), raw...)
	b.read(raw...)
	into := map[string]string{}
	for _, e := range b.log() {
		for _, j := range e.Joins {
			if into[j.Loser] != "" {
				t.Errorf("profile %s goes on in %s and in %s", j.Loser, into[j.Loser], e.Profile)
			}
			into[j.Loser] = e.Profile
		}
	}
	if len(into) == 0 {
		t.Error("nobody became one with anybody")
	}
	profilesOf, usersOf := map[string]map[string]bool{}, map[string]map[string]bool{}
	note := func(m map[string]map[string]bool, k, v string) {
		if m[k] == nil {
			m[k] = map[string]bool{}
		}
		m[k][v] = true
	}
	seen := map[string]bool{}
	for _, e := range b.log() {
		if seen[e.ID] {
			t.Errorf("call %s is applied twice", e.ID)
		}
		seen[e.ID] = true
		for into[e.Profile] != "" {
			e.Profile = into[e.Profile]
		}
		if strings.HasPrefix(e.User, "u") {
			note(profilesOf, e.User, e.Profile)
			note(usersOf, e.Profile, e.User)
		}
	}
	if len(seen) != calls*len(raw) {
		t.Errorf("%d calls are in the log, want %d", len(seen), calls*len(raw))
	}
	if len(profilesOf) != users {
		t.Errorf("%d users are in the log, want %d", len(profilesOf), users)
	}
	for u, p := range profilesOf {
		if len(p) != 1 {
			t.Errorf("user %s has %d profiles", u, len(p))
		}
	}
	for p, u := range usersOf {
		if len(u) != 1 {
			t.Errorf("profile %s has %d users", p, len(u))
		}
	}
}

func TestProfileIDsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, stream := range []string{"a", "b", "a/1"} {
		for sequence := range uint64(200) {
			id := profileID(stream, sequence)
			if !isProfile(id) || len(id) != 16 {
				t.Fatalf("profile id %q", id)
			}
			place := fmt.Sprint(stream, "/", sequence)
			if seen[id] != "" {
				t.Fatalf("%s and %s give %s", seen[id], place, id)
			}
			seen[id] = place
		}
	}
}
