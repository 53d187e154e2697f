package main

import "regexp"

// A rule forbids a phrase.
type rule struct {
	pattern *regexp.Regexp
	except  *regexp.Regexp // matches the surroundings of an allowed use; may be nil
	term    bool           // checked in identifiers, too
	use     string         // the advice
	planted string         // a sentence that the rule must find
}

func phrase(pattern, use, planted string) rule {
	return rule{pattern: regexp.MustCompile(`(?i)\b(` + pattern + `)\b`), use: use, planted: planted}
}

// term forbids a word in prose and as a part of identifiers.
func term(pattern, use, planted string) rule {
	return rule{pattern: regexp.MustCompile(`(?i)` + pattern), term: true, use: use, planted: planted}
}

func (r rule) unless(pattern string) rule {
	r.except = regexp.MustCompile(`(?i)` + pattern)
	return r
}

const people = `(people|persons?|operators?|administrators?|users?|maintainers?|developers?|someone|somebody|anyone|everyone|those|team)`

var rules = []rule{
	phrase(`what\s+(is|are|has|was|were|it|they|there|of|comes)`, "name the thing", "It reads what is there."),
	phrase(`who|whom`, `"who" is for people; name the caller, the process or the request`, "The goroutine who waits is woken.").
		unless(people + `[\s,]+(who|whom)\b|-who\b`),
	phrase(`whoever`, "name the caller", "Whoever holds the lock writes."),
	phrase(`nobody`, `"no request", "no caller"`, "Nobody reads the file.").unless(`[ug]id\s*=\s*nobody|(chown|runuser|-u)\s.{0,10}nobody`),
	phrase(`everybody`, `"every caller", "every client"`, "Everybody waits for the disk."),
	phrase(`behind`, `"after", "following"; "behind" is for proxies`, "The trailer stands behind the blocks.").
		unless(`prox(y|ies)|balancer|haproxy|nginx|ingress`),
	phrase(`anew`, `"again", "regenerate"`, "The table is written anew."),
	phrase(`alike`, `"the same"`, "Both files are alike."),
	phrase(`(says|say|said)\s+(so|that)`, `"reports", "states"`, "The header says so."),
	phrase(`for\s+want\s+of`, `"because … ran out"`, "A connection waits for want of descriptors."),
	phrase(`as\s+it\s+has`, `"like"`, "A zone with dashes, as it has.").
		unless(`as\s+(soon|long|often)\s+as\s+it\s+has`),
	phrase(`that\s+one`, "name the thing", "It opens that one first.").
		unless(`so\s+that\s+one\s+\w`),
	phrase(`(go|goes|going|went|gone)\s+live`, `"becomes live"`, "The new file goes live."),
	phrase(`(take|takes|taken|took|taking)(\s+\w+){0,4}\s+out\s+of\s+service`, `"demotes"`, "It takes the file out of service."),
	phrase(`in\s+the\s+(place|stead)\s+of`, `"instead of"`, "It writes in the place of reading."),
	phrase(`answers\s+for`, `"serves"`, "The server answers for promotions."),

	term(`turnstile`, "sequencer", "A turnstile orders the chunks."),
	term(`tenure`, "lease", "The tenure of a file ends."),
	term(`workshop`, "build slot", "The workshop runs one build."),
	term(`\bcontest`, "comparison", "The contest has two contestants."),
	term(`rank\s*table|table\s+of\s+ranks|\branker`, "learned index", "The rank table is in memory."),
	term(`\bnudge`, "trigger", "A signal nudges the loop."),
	term(`findNear`, "bounded search", "It calls findNear."),
	term(`GateError`, "GuardError", "A GateError has both counts."),
	term(`\b(patient|stoppable)(reader|writer)?\b`, "cancelable", "The patient reader waits."),
	term(`\blengthen(s|ed)?\s+(a|the)\s+pipe|lengthenPipe`, "growPipe", "It lengthens the pipe."),
	term(`\bchapters?\b`, "suite", "The chapter of builds is long."),
	term(`tables?\s+of\s+promotions|promotions\s+tables?`, "data set", "The table of promotions is read."),
}
