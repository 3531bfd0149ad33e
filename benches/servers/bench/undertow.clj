(ns bench.undertow
  "Undertow with the least that makes a Ring server of it: an eager request map, answers from a worker thread,
  bodies through its fastest way for each. Prints `port <n>`, and `tls-port <n>` if the property `bench.tls` names a
  directory with a certificate."
  (:require [bench.handlers :as handlers])
  (:import [clojure.lang Keyword]
           [io.undertow Handlers Undertow UndertowOptions]
           [io.undertow.io IoCallback]
           [io.undertow.server HttpHandler HttpServerExchange]
           [io.undertow.server.handlers PathHandler]
           [io.undertow.util HeaderMap HeaderValues Headers HttpString]
           [io.undertow.websockets WebSocketConnectionCallback]
           [io.undertow.websockets.core AbstractReceiveListener BufferedTextMessage WebSocketChannel WebSockets]
           [java.io File FileInputStream InputStream OutputStream]
           [java.net InetSocketAddress]
           [java.nio ByteBuffer]
           [java.nio.channels FileChannel]
           [java.nio.charset StandardCharsets]
           [java.nio.file OpenOption StandardOpenOption]
           [java.security KeyStore]
           [java.util Locale Map$Entry]
           [javax.net.ssl KeyManagerFactory SSLContext]))

(set! *warn-on-reflection* true)

(defn- request-headers [^HeaderMap fields]
  (loop [cookie (.fastIterateNonEmpty fields), headers (transient {})]
    (if (= -1 cookie)
      (persistent! headers)
      (let [^HeaderValues values (.fiCurrent fields cookie)
            name (.toLowerCase (str (.getHeaderName values)) Locale/ROOT)]
        (recur (.fiNextNonEmpty fields cookie)
               (assoc! headers name (if (= 1 (.size values)) (.getFirst values) (String/join "," values))))))))

(defn- request-map [^HttpServerExchange ex]
  (let [query  (.getQueryString ex)
        fields (.getRequestHeaders ex)]
    {:request-method (Keyword/intern (.toLowerCase (str (.getRequestMethod ex)) Locale/ROOT))
     :uri            (.getRequestURI ex)
     :query-string   (when-not (= "" query) query)
     :headers        (request-headers fields)
     :body           (when-not (.isRequestComplete ex) (.getInputStream ex))
     :scheme         (keyword (.getRequestScheme ex))
     :protocol       (str (.getProtocol ex))
     :server-name    (.getHostName ex)
     :server-port    (.getHostPort ex)
     :remote-addr    (.getHostAddress (.getAddress ^InetSocketAddress (.getSourceAddress ex)))
     :content-type   (.getFirst fields Headers/CONTENT_TYPE)
     :content-length (.getRequestContentLength ex)}))

(defn- send-file [^HttpServerExchange ex ^File file]
  (let [channel (FileChannel/open (.toPath file) (into-array OpenOption [StandardOpenOption/READ]))]
    (.setResponseContentLength ex (.length file))
    (.transferFrom (.getResponseSender ex) channel
      (reify IoCallback
        (onComplete [_ _ _] (.close channel) (.endExchange ex))
        (onException [_ _ _ _] (.close channel) (.endExchange ex))))))

(defn- send-stream [^HttpServerExchange ex ^InputStream in]
  (with-open [in in, out (.getOutputStream ex)]
    (.transferTo in out)))

(defn- respond [^HttpServerExchange ex {:keys [status headers body]}]
  (.setStatusCode ex (int status))
  (let [fields (.getResponseHeaders ex)]
    (doseq [[k v] headers]
      (.put fields (HttpString. ^String k) ^String v)))
  (cond
    (string? body)                (.send (.getResponseSender ex) ^String body)
    (bytes? body)                 (.send (.getResponseSender ex) (ByteBuffer/wrap ^bytes body))
    (instance? File body)         (send-file ex body)
    (instance? InputStream body)  (send-stream ex body)
    (fn? body)                    (with-open [out (.getOutputStream ex)] (body out))))

(defn- ring-handler ^HttpHandler [app]
  (reify HttpHandler
    (handleRequest [this ex]
      (if (.isInIoThread ex)
        (.dispatch ex this)
        (do (.startBlocking ex)
            (respond ex (app (request-map ex))))))))

(defn- chunks [_]
  (let [piece (.getBytes ^String handlers/chunk-text StandardCharsets/UTF_8)]
    {:status  200
     :headers {"Content-Type" "text/plain"}
     :body    (fn [^OutputStream out]
                (dotimes [_ 10]
                  (.write out piece)
                  (.flush out)))}))

(defn- websocket ^HttpHandler [times]
  (Handlers/websocket
    (reify WebSocketConnectionCallback
      (onConnect [_ _ channel]
        (.set (.getReceiveSetter ^WebSocketChannel channel)
          (proxy [AbstractReceiveListener] []
            (onFullTextMessage [^WebSocketChannel ch ^BufferedTextMessage message]
              (dotimes [_ times]
                (WebSockets/sendText (.getData message) ch nil)))))
        (.resumeReceives ^WebSocketChannel channel)))))

(defn- ssl-context ^SSLContext [directory]
  (let [password (.toCharArray "changeit")
        store    (KeyStore/getInstance "PKCS12")
        keys     (KeyManagerFactory/getInstance (KeyManagerFactory/getDefaultAlgorithm))]
    (with-open [in (FileInputStream. (str directory "/store.p12"))]
      (.load store in password))
    (.init keys store password)
    (doto (SSLContext/getInstance "TLS")
      (.init (.getKeyManagers keys) nil nil))))

(defn- bound-port [^Undertow server at]
  (let [^io.undertow.Undertow$ListenerInfo info (.get (.getListenerInfo server) (int at))]
    (.getPort ^InetSocketAddress (.getAddress info))))

(defn -main [& [port]]
  (let [app    (ring-handler (handlers/app {"/chunks" chunks}))
        paths  (doto (PathHandler. app)
                 (.addExactPath "/ws" (websocket 1))
                 (.addExactPath "/ws-twice" (websocket 2)))
        tls    (System/getProperty "bench.tls")
        builder (-> (Undertow/builder)
                  (.addHttpListener (parse-long (or port "0")) "0.0.0.0")
                  (.setServerOption UndertowOptions/ALWAYS_SET_DATE true)
                  (.setHandler paths))
        _      (when tls (.addHttpsListener builder 0 "0.0.0.0" (ssl-context tls)))
        server (.build builder)]
    (.start server)
    (when tls
      (println "tls-port" (bound-port server 1)))
    (println "port" (bound-port server 0))))
