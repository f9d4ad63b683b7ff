package hdfs

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
)

// defaultFS reads the URL of the HDFS out of its configuration.
func defaultFS(confDir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(confDir, "core-site.xml"))
	if err != nil {
		return "", fmt.Errorf("read HDFS's configuration: %w", err)
	}
	var site struct {
		Properties []struct {
			Name  string `xml:"name"`
			Value string `xml:"value"`
		} `xml:"property"`
	}
	if err := xml.Unmarshal(content, &site); err != nil {
		return "", fmt.Errorf("read HDFS's core-site.xml: %w", err)
	}
	for _, property := range site.Properties {
		if property.Name == "fs.defaultFS" {
			return property.Value, nil
		}
	}
	return "", fmt.Errorf("HDFS's core-site.xml in %s has no fs.defaultFS", confDir)
}
