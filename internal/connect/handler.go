package connect

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/internal/listen"
)

// Handler serves a Backend.
type Handler struct {
	backend Backend
	guard   *Guard
	log     *slog.Logger
	// streams has a place for each log that can be read at once.
	streams *streams
	readers Readers
	mux     *http.ServeMux
}

// NewHandler returns a handler that serves backend to the callers that guard accepts,
// and at most so many logs at once, which readers share.
func NewHandler(backend Backend, guard *Guard, streams int, readers Readers, log *slog.Logger) *Handler {
	h := &Handler{backend: backend, guard: guard, log: log, streams: newStreams(streams), readers: readers, mux: http.NewServeMux()}
	const namespace = "/namespaces/{namespace}/"
	const worker = namespace + connectv1.ResourceWorkers + "/{name}/"
	h.handle(worker+connectv1.SubresourceLog, right{"get", connectv1.ResourceWorkers, connectv1.SubresourceLog}, h.sendLog)
	h.handle(worker+connectv1.SubresourceStats, right{"get", connectv1.ResourceWorkers, connectv1.SubresourceStats}, h.sendStats)
	h.handle(namespace+connectv1.ResourceWorkerStats, right{"list", connectv1.ResourceWorkerStats, ""}, h.sendStatsList)
	h.handle("", right{}, sendResources)
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) { h.mux.ServeHTTP(w, req) }

// handle serves a path below Base to those who have a right; everybody who is
// known has the empty one.
func (h *Handler) handle(path string, needed right, answer func(http.ResponseWriter, *http.Request) error) {
	h.mux.HandleFunc("GET "+Base+path, func(w http.ResponseWriter, req *http.Request) {
		// What is sent may be a worker's: no browser shall make something of it.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		by, err := h.guard.identify(req)
		if err == nil {
			listen.Known(req.Context())
			req = req.WithContext(context.WithValue(req.Context(), readerKey{}, h.readers(req, by)))
		}
		if err == nil && needed != (right{}) {
			err = h.guard.allow(req, by, needed)
		}
		if err == nil {
			err = answer(w, req)
		}
		if err != nil {
			h.refuse(w, req, err)
		}
	})
}

// refuse answers with what an error says.
func (h *Handler) refuse(w http.ResponseWriter, req *http.Request, err error) {
	if req.Context().Err() != nil {
		return // nobody is there any more
	}
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		h.log.Error("request failed", "path", req.URL.Path, "error", err)
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	if status.Code == http.StatusUnauthorized {
		w.Header().Set("Connection", "close") // no stranger asks again without another handshake
	}
	send(w, int(status.Code), status)
}

func send(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(document) // if it fails, nobody is there to be told
}

func workerOf(req *http.Request) types.NamespacedName {
	return types.NamespacedName{Namespace: req.PathValue("namespace"), Name: req.PathValue("name")}
}

func (h *Handler) sendStats(w http.ResponseWriter, req *http.Request) error {
	stats, err := h.backend.Stats(req.Context(), workerOf(req))
	if err != nil {
		return err
	}
	stats.SetGroupVersionKind(connectv1.GroupVersion.WithKind("StormWorkerStats"))
	send(w, http.StatusOK, stats)
	return nil
}

func (h *Handler) sendStatsList(w http.ResponseWriter, req *http.Request) error {
	list, err := h.backend.ListStats(req.Context(), req.PathValue("namespace"))
	if err != nil {
		return err
	}
	list.SetGroupVersionKind(connectv1.GroupVersion.WithKind("StormWorkerStatsList"))
	send(w, http.StatusOK, list)
	return nil
}

// sendResources answers those who want to know what there is.
func sendResources(w http.ResponseWriter, _ *http.Request) error {
	const stats = "StormWorkerStats"
	send(w, http.StatusOK, &metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: connectv1.GroupVersion.String(),
		APIResources: []metav1.APIResource{
			{Name: connectv1.ResourceWorkers + "/" + connectv1.SubresourceLog, Namespaced: true, Kind: "StormWorker", Verbs: metav1.Verbs{"get"}},
			{Name: connectv1.ResourceWorkers + "/" + connectv1.SubresourceStats, Namespaced: true, Kind: stats, Verbs: metav1.Verbs{"get"}},
			{Name: connectv1.ResourceWorkerStats, SingularName: connectv1.ResourceWorkerStats, Namespaced: true, Kind: stats, Verbs: metav1.Verbs{"list"}},
		},
	})
	return nil
}

func (h *Handler) sendLog(w http.ResponseWriter, req *http.Request) error {
	o, err := connectv1.ParseLogOptions(req.URL.Query())
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	ctx, release, ok := h.streams.take(req.Context(), Reader(req.Context()))
	if !ok {
		return apierrors.NewTooManyRequests("too many logs are being read here at once, and no user reads many more than you; try again later", int(retryAfter/time.Second))
	}
	defer release()
	body, err := h.backend.Log(ctx, workerOf(req), o)
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	err = stream(w, body)
	if gave := context.Cause(ctx); errors.Is(gave, errGaveUp) {
		err = gave // whatever the log's end looked like
	}
	if err != nil {
		h.log.Debug("a log was not sent completely", "path", req.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // so that the client sees it, too
	}
	return nil
}

const (
	// retryAfter is when there may be a place for one more log.
	retryAfter = 10 * time.Second
	// writeLimit is how long a client may take to take what it is sent.
	writeLimit = 30 * time.Second
)

// stream sends what there is as soon as it is there.
func stream(w http.ResponseWriter, from io.Reader) error {
	out := http.NewResponseController(w)
	if err := out.Flush(); err != nil { // so that the client knows that it follows
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, readErr := from.Read(buf)
		if n > 0 {
			if err := errors.Join(out.SetWriteDeadline(time.Now().Add(writeLimit)), write(w, buf[:n]), out.Flush()); err != nil {
				return err
			}
			// It may be long until there is more.
			if err := out.SetWriteDeadline(time.Time{}); err != nil {
				return err
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

func write(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}
