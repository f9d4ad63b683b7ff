// Command openapi prints the OpenAPI v2 definitions of the objects of CRDs, as
// an API server makes them, under the names that applyconfiguration-gen expects:
//
//	openapi PACKAGE CRD.yaml...
//
// PACKAGE is the Go package that holds the objects' types.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"
)

// definitions is where OpenAPI v2 keeps them.
const definitions = "#/definitions/"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: openapi PACKAGE CRD.yaml...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(pkg string, files []string) error {
	objects := spec.Definitions{}
	for name, d := range generatedopenapi.GetOpenAPIDefinitions(ref) {
		objects[name] = d.Schema
	}
	for _, file := range files {
		kind, object, err := read(file, path.Base(pkg))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		objects[util.ToRESTFriendlyName(pkg+"."+kind)] = *object
	}
	return json.NewEncoder(os.Stdout).Encode(spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "CRDs", Version: path.Base(pkg)}},
		Paths:       &spec.Paths{},
		Definitions: objects,
	}})
}

// ref refers to the definition of a type of Kubernetes.
func ref(name string) spec.Ref { return spec.MustCreateRef(definitions + name) }

// read returns the kind of a CRD and the schema of its objects.
func read(file, version string) (string, *spec.Schema, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	crd := new(apiextensionsv1.CustomResourceDefinition)
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		return "", nil, err
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version {
			continue
		}
		object := new(apiextensions.JSONSchemaProps)
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, object, nil); err != nil {
			return "", nil, err
		}
		structural, err := schema.NewStructural(object)
		if err != nil {
			return "", nil, err
		}
		s := openapiv2.ToStructuralOpenAPIV2(structural).ToKubeOpenAPI()
		s.SetProperty("metadata", *spec.RefSchema(definitions + metav1.ObjectMeta{}.OpenAPIModelName()))
		return crd.Spec.Names.Kind, s, nil
	}
	return "", nil, fmt.Errorf("no version %s", version)
}
