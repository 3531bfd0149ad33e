(ns demo.app
  "The demo that `./dev run` serves: one plain Ring handler for what people do with http-kit. It needs the jar alone.

    clojure.main -m demo.app [--port 8090] [--tls]

  --tls serves it on https://localhost:8443/ too, with a certificate made for this run."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [demo.json          :as json]
            [demo.live          :as live]
            [demo.page          :as page]
            [org.httpkit.server :as server])
  (:import [clojure.lang SeqEnumeration]
           [java.io ByteArrayInputStream InputStream SequenceInputStream]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]
           [java.security MessageDigest]))

(defn- request-page [request]
  (page/layout "/request"
    "<form method=post action='/request?from=form'><input name=text class=wide placeholder='sent as a body' aria-label=text>
     <button>POST</button></form>"
    (page/table (update request :body #(some-> % slurp)))))

(defn- fetch-page
  "A page with a button that fetches `url` and shows what comes."
  [path url label]
  (page/layout path
    "<form id=form><button>" label "</button> <code>GET " url "</code></form><pre id=out> </pre>
     <script>$('form').onsubmit = e => { e.preventDefault(); fetchInto('out', '" url "'); };
     $('form').requestSubmit();</script>"))

(defn- json-data [request]
  (json/response (select-keys request [:request-method :uri :query-string :headers :remote-addr :protocol])))

(defn- upload-form [_]
  (page/layout "/upload"
    "<p>At most 64 MiB; a larger file is refused with 413 before it is read.</p>
     <form method=post enctype='multipart/form-data'><input type=file name=file class=wide aria-label=file required>
     <button>Send</button></form>"))

(defn- sha-256 [^InputStream in]
  (let [digest (MessageDigest/getInstance "SHA-256")
        buffer (byte-array 8192)]
    (loop []
      (let [n (.read in buffer)]
        (when (pos? n)
          (.update digest buffer 0 n)
          (recur))))
    (str/join (map #(format "%02x" %) (.digest digest)))))

(defn- file-name
  "The name that the browser gave; the head of the first part stands in the first few hundred bytes."
  [^InputStream body]
  (let [head (byte-array 1024)
        n    (max 0 (.read body head))]
    (.reset body)
    (second (re-find #"filename=\"([^\"]*)\"" (String. head 0 n "UTF-8")))))

(defn- upload [{:keys [body headers content-length]}]
  (if body
    (page/layout "/upload"
      (page/table {"file name"           (file-name body)
                   "Content-Type"        (headers "content-type")
                   "body, bytes"         content-length
                   "SHA-256 of the body" (sha-256 body)})
      "<p><a href='/upload'>Another one</a></p>")
    (page/message "Nothing uploaded" "The request had no body.")))

(defn- slow-line [i n]
  (Thread/sleep 300)
  (ByteArrayInputStream. (.getBytes (format "line %2d of %d\n" i n))))

(defn- slow-lines
  "The body is an InputStream that gives a line every 300 ms, as a subprocess or
  a remote file would."
  [_]
  {:status  200
   :headers {"Content-Type" "text/plain; charset=utf-8"}
   ;; `iterate`, because a range is chunked: all lines would be made before the first is read.
   :body    (->> (take 20 (iterate inc 1))
                 (map #(slow-line % 20))
                 (SeqEnumeration.)
                 (SequenceInputStream.))})

(defn- failing [_]
  (throw (ex-info "This handler always fails: the stack trace is in the server's log" {})))

(defn- not-found [{:keys [uri]}]
  (assoc (page/message "Not here" (str "There is no " uri)) :status 404))

(def ^:private routes
  {[:get "/"]                page/overview
   [:get "/favicon.svg"]     page/favicon
   [:get "/request"]         request-page
   [:post "/request"]        request-page
   [:get "/json"]            (fn [_] (fetch-page "/json" "/json/data" "Fetch"))
   [:get "/json/data"]       json-data
   [:get "/upload"]          upload-form
   [:post "/upload"]         upload
   [:get "/slow"]            (fn [_] (fetch-page "/slow" "/slow/lines" "Again"))
   [:get "/slow/lines"]      slow-lines
   [:get "/error"]           (fn [_] (fetch-page "/error" "/error/now" "Again"))
   [:get "/error/now"]       failing
   [:get "/chat"]            live/chat-page
   [:get "/chat/socket"]     live/chat-socket
   [:get "/clock"]           live/clock-page
   [:get "/clock/events"]    live/clock-stream
   [:get "/inbox"]           live/inbox-page
   [:get "/inbox/messages"]  live/wait-for-message
   [:post "/inbox/messages"] live/post-message})

(defn handler [{:keys [request-method uri] :as request}]
  ((get routes [(if (= :head request-method) :get request-method) uri] not-found) request))

(defn- keytool-store
  "The path of a key store with a new certificate for localhost, signed by itself."
  [password]
  (let [folder  (.toFile (Files/createTempDirectory "demo" (make-array FileAttribute 0)))
        store   (io/file folder "localhost.p12")
        command [(str (io/file (System/getProperty "java.home") "bin" "keytool")) "-genkeypair"
                 "-alias" "localhost" "-keyalg" "EC" "-groupname" "secp256r1" "-validity" "30"
                 "-dname" "CN=localhost" "-ext" "san=dns:localhost,ip:127.0.0.1,ip:::1"
                 "-keystore" (str store) "-storetype" "PKCS12" "-storepass" password]
        process (-> (ProcessBuilder. ^java.util.List command) (.redirectErrorStream true) (.start))
        output  (slurp (.getInputStream process))]
    (run! #(.deleteOnExit ^java.io.File %) [folder store])
    (when-not (zero? (.waitFor process))
      (throw (ex-info (str "keytool failed: " output) {})))
    (str store)))

(defn- tls-options [ssl-port]
  (when ssl-port
    (let [password (str (java.util.UUID/randomUUID))]
      {:ssl-port ssl-port, :keystore (keytool-store password), :key-password password})))

(defn start
  "Starts the demo, over TLS too if `ssl-port` is given; returns the function that stops it."
  [{:keys [port ssl-port] :or {port 8090}}]
  (server/run-server #'handler (merge {:port             port
                                       :max-body         (* 64 1024 1024)
                                       ;; The slow stream is sent from its first line on.
                                       :body-buffer-size 0}
                                      (tls-options ssl-port))))

(defn- options-of [args]
  (loop [[option port & more :as args] args, options {}]
    (cond
      (empty? args)                   options
      (= "--tls" option)              (recur (rest args) (assoc options :ssl-port 8443))
      (and (= "--port" option) port)  (recur more (assoc options :port (Integer/parseInt port)))
      :else (throw (IllegalArgumentException. "usage: demo.app [--port N] [--tls]")))))

(defn -main [& args]
  (let [stop! (start (options-of args))
        {port :local-port :keys [ssl-port]} (meta stop!)]
    (println (str "http-kit demo on http://localhost:" port "/"))
    (doseq [[path _ about] page/pages]
      (println (format "  http://localhost:%d%-8s %s" port path about)))
    (when ssl-port
      (println (format "and on https://localhost:%d/, whose certificate your browser does not know" ssl-port)))
    (println "Ctrl-C ends it.")))
