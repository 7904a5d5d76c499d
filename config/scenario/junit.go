package scenario

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// suite is a JUnit report, as build servers read it.
type suite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Cases    []kase   `xml:"testcase"`
}

type kase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	File    string   `xml:"file,attr"`
	Failure *failure `xml:"failure,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit's XML: a case for each scenario, its first failure as the message and all of
// them, with their places, as the text.
func (r Report) WriteJUnit(w io.Writer) error {
	s := suite{Name: "attune", Tests: len(r.Results), Failures: r.Failed()}
	for _, one := range r.Results {
		c := kase{Name: one.Scenario.Name, Class: strings.TrimSuffix(one.Scenario.Path, ".scenario.yaml"), File: one.Scenario.Path}
		if len(one.Failures) > 0 {
			var texts []string
			for _, f := range one.Failures {
				texts = append(texts, f.Error())
			}
			c.Failure = &failure{Message: one.Failures[0].Message, Text: strings.Join(texts, "\n")}
		}
		s.Cases = append(s.Cases, c)
	}
	data, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("junit report: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}
