// Package client holds, in its folders, the typed client of stormcell's API, for
// programs that use client-go: a clientset and a fake one for tests, informers,
// listers, and configurations for server-side apply. All of it is generated
// from api/v1alpha1; docs/clients.md shows its use.
package client
