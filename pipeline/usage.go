package pipeline

// usage is a list of profiles by their last use. The links lie in the entries, each of which is in one list at most.
type usage struct {
	newest, oldest *entry
	count          int
}

// add puts an entry that is in no list in as the one used last.
func (u *usage) add(e *entry) {
	e.in, e.older = u, u.newest
	if u.newest == nil {
		u.oldest = e
	} else {
		u.newest.newer = e
	}
	u.newest = e
	u.count++
}

// remove takes out an entry that is in the list.
func (u *usage) remove(e *entry) {
	if e.newer == nil {
		u.newest = e.older
	} else {
		e.newer.older = e.older
	}
	if e.older == nil {
		u.oldest = e.newer
	} else {
		e.older.newer = e.newer
	}
	e.in, e.newer, e.older = nil, nil, nil
	u.count--
}
