(ns demo.app
  "The demo that `./dev run` serves: one plain Ring handler for what people do with http-kit.

    clojure.main -m demo.app [--port 8090]"
  (:require [clojure.string     :as str]
            [demo.live          :as live]
            [demo.page          :as page]
            [org.httpkit.server :as server])
  (:import [clojure.lang SeqEnumeration]
           [java.io ByteArrayInputStream InputStream SequenceInputStream]
           [java.security MessageDigest]))

(defn- request-page [req]
  (page/layout "Your request"
    "<p>This is the Ring request map that the handler received.</p>"
    (page/table (update req :body #(if % (str %) %)))))

(defn- json-string [x]
  (str \" (str/escape (str x) {\" "\\\"" \\ "\\\\" \newline "\\n" \return "\\r" \tab "\\t"}) \"))

(defn- json [x]
  (cond
    (map? x)     (str "{" (str/join ", " (for [[k v] x] (str (json-string (name k)) ": " (json v)))) "}")
    (coll? x)    (str "[" (str/join ", " (map json x)) "]")
    (keyword? x) (json-string (name x))
    (number? x)  (str x)
    (boolean? x) (str x)
    (nil? x)     "null"
    :else        (json-string x)))

(defn- json-route [req]
  {:status  200
   :headers {"Content-Type" "application/json; charset=utf-8"}
   :body    (json (select-keys req [:request-method :uri :query-string :headers :remote-addr :protocol]))})

(defn- upload-form [_]
  (page/layout "Upload"
    "<p>At most 64 MiB; a larger file is refused with 413 before it is read.</p>
     <form method=post enctype='multipart/form-data'><input type=file name=file required> <button>Send</button></form>"))

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
    (page/layout "Uploaded"
      (page/table {"file name" (file-name body)
                   "Content-Type" (headers "content-type")
                   "body, bytes" content-length
                   "SHA-256 of the body" (sha-256 body)}))
    (page/layout "Nothing uploaded" "<p>The request had no body.</p>")))

(defn- slow-line [i n]
  (Thread/sleep 300)
  (ByteArrayInputStream. (.getBytes (format "line %2d of %d\n" i n))))

(defn- slow-lines
  "An InputStream that gives `n` lines, one every 300 ms, as a subprocess or a remote file would."
  ^InputStream [n]
  ;; `iterate`, because a range is chunked: all lines would be made before the first is read.
  (->> (take n (iterate inc 1))
       (map #(slow-line % n))
       (SeqEnumeration.)
       (SequenceInputStream.)))

(defn- slow [_]
  {:status 200 :headers {"Content-Type" "text/plain; charset=utf-8"} :body (slow-lines 20)})

(defn- error [_]
  (throw (ex-info "This handler always fails: the answer is a 500, the stack trace is in the server's log" {})))

(defn- not-found [{:keys [uri]}]
  (assoc (page/layout "Not here" "<p>There is no " (page/escape uri) ".</p>") :status 404))

(def ^:private routes
  {[:get "/"]                request-page
   [:post "/"]               request-page
   [:get "/json"]            json-route
   [:get "/upload"]          upload-form
   [:post "/upload"]         upload
   [:get "/slow"]            slow
   [:get "/error"]           error
   [:get "/chat"]            live/chat-page
   [:get "/chat/socket"]     live/chat-socket
   [:get "/clock"]           live/clock-page
   [:get "/clock/events"]    live/clock-stream
   [:get "/inbox"]           live/inbox-page
   [:get "/inbox/messages"]  live/wait-for-message
   [:post "/inbox/messages"] live/post-message})

(defn handler [{:keys [request-method uri] :as req}]
  ((get routes [(if (= :head request-method) :get request-method) uri] not-found) req))

(defn start
  "Starts the demo; returns the function that stops it."
  [{:keys [port] :or {port 8090}}]
  (server/run-server #'handler {:port port :max-body (* 64 1024 1024)}))

(defn- port-of [args]
  (let [[option port & more] args]
    (cond
      (empty? args)                                8090
      (and (= "--port" option) port (empty? more)) (Integer/parseInt port)
      :else (throw (IllegalArgumentException. "usage: demo.app [--port N]")))))

(defn -main [& args]
  (let [stop! (start {:port (port-of args)})
        port  (:local-port (meta stop!))]
    (println (str "http-kit demo on http://localhost:" port "/"))
    (doseq [[path about] [["/" "your request as a Ring map"] ["/json" "a JSON answer"] ["/upload" "an upload form"]
                          ["/slow" "an InputStream that takes six seconds"] ["/error" "a handler that throws"]
                          ["/chat" "WebSocket"] ["/clock" "server-sent events"] ["/inbox" "long polling"]]]
      (println (format "  http://localhost:%d%-8s %s" port path about)))
    (println "Ctrl-C ends it.")))
