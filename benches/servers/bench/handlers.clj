(ns bench.handlers
  "What every Ring server of the benchmark serves.

  `app` is plain Ring; a server adds what it streams with, and its WebSockets."
  (:import [java.io ByteArrayInputStream File InputStream]
           [java.nio.file Files OpenOption]
           [java.util Arrays]))

(set! *warn-on-reflection* true)

(defn- filled ^bytes [n c]
  (doto (byte-array n) (Arrays/fill (byte (int c)))))

(def ^:private json-text (String. (filled 2048 \j) "UTF-8"))

(def ^:private megabyte (filled 1000000 \b))

(def ^:private megabyte-file
  (delay
    (let [file (doto (File/createTempFile "bench" ".bin") (.deleteOnExit))]
      (Files/write (.toPath file) ^bytes megabyte ^"[Ljava.nio.file.OpenOption;" (make-array OpenOption 0))
      file)))

(def chunk-text "What a channel sends ten times over, as a chunk each." (apply str (repeat 100 \c)))

(defn- hello [_]
  {:status 200, :headers {"Content-Type" "text/plain"}, :body "Hello, World!"})

(defn- json [{:keys [request-method uri query-string headers] :as request}]
  (if (and (= :get request-method) uri query-string (get headers "accept")
           (::session request) (::params request))
    {:status  200
     :headers {"Content-Type"    "application/json; charset=utf-8"
               "Cache-Control"   "no-cache"
               "X-Frame-Options" "DENY"
               "X-Request-Id"    (get headers "x-request-id")}
     :body    json-text}
    {:status 500, :headers {}, :body "the request is not as expected"}))

(defn- wrap-assoc [handler k v]
  (fn [request] (handler (assoc request k v))))

(def ^:private json-stack
  (-> json (wrap-assoc ::session {:user 1}) (wrap-assoc ::params {"page" "2"})))

(defn- octets [body]
  {:status 200, :headers {"Content-Type" "application/octet-stream"}, :body body})

(defn- post [{:keys [^InputStream body]}]
  (if (= 16384 (alength (.readAllBytes body)))
    (hello nil)
    {:status 500, :headers {}, :body "the body is not as expected"}))

(defn- collect-garbage
  "Answers with the bytes of the heap that are in use."
  [_]
  (dotimes [_ 2] (System/gc))
  (let [runtime (Runtime/getRuntime)]
    {:status 200, :headers {"Content-Type" "text/plain"}, :body (str (- (.totalMemory runtime) (.freeMemory runtime)))}))

(defn- blocking [msecs]
  (Thread/sleep (long msecs))
  (hello nil))

(defn app
  "Ring handler. `more` is a map from URI to further handlers."
  [more]
  (fn [request]
    (case (:uri request)
      "/"         (hello request)
      "/json"     (json-stack request)
      "/post"     (post request)
      "/bytes"    (octets megabyte)
      "/file"     (octets @megabyte-file)
      "/stream"   (octets (ByteArrayInputStream. megabyte))
      "/gc"       (collect-garbage request)
      "/blocking" (blocking 5)
      "/long"     (blocking 50)
      (if-let [handler (get more (:uri request))]
        (handler request)
        {:status 404, :headers {}, :body "nothing here"}))))
