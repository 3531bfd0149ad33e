(ns ^:newest-jdk httpkit.peers-test
  "Real clients of other authors: curl, java.net.http, HttpURLConnection, Node, Go, Python's http.client."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :as shell]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.scheme     :as scheme]
            [httpkit.tls-certs  :as certs]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File)
           (java.net URI)
           (java.net.http HttpClient HttpClient$Version HttpRequest HttpRequest$BodyPublishers HttpResponse
                          HttpResponse$BodyHandlers WebSocket WebSocket$Listener)
           (java.nio ByteBuffer)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.security MessageDigest)
           (java.time Duration)
           (java.util.concurrent CompletableFuture CountDownLatch TimeUnit)))

(set! *warn-on-reflection* true)

(defn- sha256 [^bytes bytes]
  (apply str (map #(format "%02x" %) (.digest (MessageDigest/getInstance "SHA-256") bytes))))

(defn- noise ^bytes [n]
  (let [bytes (byte-array n)]
    (.nextBytes (java.util.Random. (long n)) bytes)
    bytes))

(defn- handler [{:keys [uri request-method body headers protocol query-string] :as req}]
  (case uri
    "/hash"   {:status 200 :body (if body (sha256 (.bytes ^org.httpkit.BytesInputStream body)) "none")}
    "/echo"   {:status 200 :headers {"Content-Type" "application/octet-stream"} :body body}
    "/big"    {:status 200 :body (noise 3000000)}
    "/info"   {:status 200 :body (str/join " " [(name request-method) protocol query-string (headers "x-test")])}
    "/seen"   {:status 200 :body (str (headers "expect") "|" (headers "transfer-encoding") "|" (:content-length req))}
    "/stream" (server/as-channel req {:on-open (fn [ch]
                                                 (future
                                                   (dotimes [i 5] (server/send! ch (str "piece " i "\n") false))
                                                   (server/close ch)))})
    "/204"    {:status 204}
    "/redirect" {:status 302 :headers {"Location" "/info"}}
    "/fail"   (throw (Exception. "failed"))
    "/ws"     (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))})
    nil))

(defn- url-of [port path]
  (str (name scheme/scheme) "://127.0.0.1:" port path))

(defn- temp-file ^File [^bytes content]
  (let [file (.toFile (Files/createTempFile "peers-test" "" (make-array FileAttribute 0)))]
    (io/copy content file)
    (.deleteOnExit file)
    file))

;; curl

(defn- curl
  "Standard output of curl, with `-w` if `:write` is among the arguments' first."
  [& args]
  (let [{:keys [exit out err]} (apply shell/sh "curl" "-sS" "--max-time" "60" (concat (when scheme/https? ["--cacert" (certs/path "ca.pem")]) args))]
    (is (zero? exit) (str "curl " (str/join " " args) ": " err))
    out))

(def ^:private curl? (try (zero? (:exit (shell/sh "curl" "--version"))) (catch java.io.IOException _ false)))

(when-not curl?
  (println "peers-test: there is no curl on this machine"))

(defmacro ^:private defcurltest [name & body]
  (when curl? `(deftest ~name (wire/with-server [{:keys [~'port]} handler {}]
                                (let [~'url (fn [path#] (url-of ~'port path#))]
                                  ~@body)))))

(defcurltest curl-reuses-one-connection
  (is (= "1\n0\n0\n" (curl "-o" "/dev/null" "-o" "/dev/null" "-o" "/dev/null" "-w" "%{num_connects}\\n"
                           (url "/info") (url "/info") (url "/echo")))))

(defcurltest curl-methods-and-versions
  (is (= "get HTTP/1.1 a=1 yes" (curl "-H" "X-Test: yes" (url "/info?a=1"))))
  (is (= "get HTTP/1.0  " (curl "--http1.0" (url "/info"))))
  (is (= "get HTTP/1.0  " (curl "--http1.0" "-H" "Connection: keep-alive" (url "/info"))))
  (doseq [method ["PUT" "DELETE" "PATCH" "OPTIONS" "PROPFIND"]]
    (is (= (str (.toLowerCase ^String method java.util.Locale/ROOT) " HTTP/1.1  ") (curl "-X" method (url "/info")))))
  (is (= "get HTTP/1.1  " (curl "-L" (url "/redirect"))))
  (is (= "204" (curl "-o" "/dev/null" "-w" "%{http_code}" (url "/204"))))
  (is (= "404" (curl "-o" "/dev/null" "-w" "%{http_code}" (url "/none"))))
  (is (= "failed500" (curl "-w" "%{http_code}" (url "/fail"))))
  (testing "an upgrade to HTTP/2 is not taken up"
    (is (= "get HTTP/1.1  " (curl "--http2" (url "/info"))))))

(defcurltest curl-head
  (let [head (curl "-I" (url "/big"))]
    (is (re-find #"HTTP/1.1 200" head))
    (is (re-find #"(?i)content-length: 3000000" head))))

(defcurltest curl-uploads-with-expect
  (let [content (noise 5000000)
        file    (temp-file content)]
    (is (= (sha256 content) (curl "-H" "Expect: 100-continue" "--data-binary" (str "@" file) (url "/hash"))))
    (is (= (sha256 content) (curl "-T" (str file) (url "/hash"))))
    (is (= "100-continue||5000000" (curl "-H" "Expect: 100-continue" "--data-binary" (str "@" file) (url "/seen"))))))

(defcurltest curl-uploads-in-chunks
  (let [content (noise 5000000)
        file    (temp-file content)]
    (is (= (sha256 content)
           (curl "-H" "Transfer-Encoding: chunked" "--data-binary" (str "@" file) (url "/hash"))))
    (is (= "|chunked|5000000"
           (curl "-H" "Transfer-Encoding: chunked" "-H" "Expect:" "--data-binary" (str "@" file) (url "/seen"))))))

(defcurltest curl-downloads
  (doseq [options [[] ["--http1.0"] ["--limit-rate" "20M"]]]
    (let [file (temp-file (byte-array 0))]
      (apply curl "-o" (str file) (concat options [(url "/big")]))
      (is (= (sha256 (noise 3000000)) (sha256 (Files/readAllBytes (.toPath file)))) options)))
  (doseq [options [[] ["--http1.0"]]]
    (is (= "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n" (apply curl (concat options [(url "/stream")]))))))

(defcurltest curl-sends-forms
  (is (= "1" (str (count (re-seq #"name=\"a\"" (curl "-F" "a=b" "-F" (str "f=@" (temp-file (noise 1000))) (url "/echo")))))))
  (is (= "a=b&c=d" (curl "-d" "a=b" "-d" "c=d" (url "/echo")))))

(defcurltest curl-gets-the-413-of-a-body-that-is-too-large
  (let [file (temp-file (noise 30000000))]
    (doseq [options [["-H" "Expect:"] ["-H" "Expect: 100-continue"] ["-H" "Expect:" "-H" "Transfer-Encoding: chunked"]]]
      (is (= "413" (apply curl "-o" "/dev/null" "-w" "%{http_code}" "--data-binary" (str "@" file)
                          (concat options [(url "/hash")])))
          options))))

(when curl?
  (deftest curl-over-a-unix-domain-socket
    (when-let [address (try (Class/forName "java.net.UnixDomainSocketAddress") (catch ClassNotFoundException _ nil))]
      (let [dir  (.toFile (Files/createTempDirectory "peers" (make-array FileAttribute 0)))
            path (str (File. ^File dir "socket"))
            of   (.getMethod ^Class address "of" (into-array Class [String]))]
        (wire/with-server [_ handler {:address-finder #(.invoke of nil (object-array [path]))}]
          (is (= "get HTTP/1.1  " (curl "--unix-socket" path "http://localhost/info"))))))))

;; java.net.http

(defn- java-client ^HttpClient []
  (-> (HttpClient/newBuilder) (.version HttpClient$Version/HTTP_1_1) (.connectTimeout (Duration/ofSeconds 20))
      (.sslContext (certs/context)) (.build)))

(defn- request ^HttpRequest [port path f]
  (let [builder (HttpRequest/newBuilder (URI. (url-of port path)))]
    (.timeout builder (Duration/ofSeconds 60))
    (f builder)
    (.build builder)))

(deftest java-http-client-talks-to-us
  (let [client (java-client)
        content (noise 2000000)]
    (wire/with-server [{:keys [port]} handler {}]
      (let [send (fn [path f]
                   (let [response (.send client (request port path f) (HttpResponse$BodyHandlers/ofByteArray))]
                     [(.statusCode ^HttpResponse response) (.body ^HttpResponse response)]))
            post (fn [publisher] #(.POST ^java.net.http.HttpRequest$Builder % publisher))]
        (is (= [200 "get HTTP/1.1 q "] (update (send "/info?q" identity) 1 #(String. ^bytes %))))
        (is (= [200 (sha256 content)]
               (update (send "/hash" (post (HttpRequest$BodyPublishers/ofByteArray content))) 1 #(String. ^bytes %))))
        (testing "chunked, since it does not know the length"
          (is (= [200 (sha256 content)]
                 (update (send "/echo" (post (HttpRequest$BodyPublishers/ofInputStream
                                               (reify java.util.function.Supplier (get [_] (io/input-stream content))))))
                         1 sha256))))
        (testing "waiting for 100 Continue"
          (is (= [200 (sha256 content)]
                 (update (send "/hash" #(-> ^java.net.http.HttpRequest$Builder %
                                            (.expectContinue true)
                                            (.POST (HttpRequest$BodyPublishers/ofByteArray content))))
                         1 #(String. ^bytes %)))))
        (is (= [200 (sha256 (noise 3000000))] (update (send "/big" identity) 1 sha256)))
        (is (= [204 ""] (update (send "/204" identity) 1 #(String. ^bytes %))))
        (is (= [404 ""] (update (send "/none" identity) 1 #(String. ^bytes %))))
        (is (= "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n" (String. ^bytes (second (send "/stream" identity)))))))))

(deftest java-http-client-in-parallel
  (let [client (java-client)]
    (wire/with-server [{:keys [port]} handler {}]
      (let [calls (mapv (fn [i] (.sendAsync client (request port (str "/info?" i) identity) (HttpResponse$BodyHandlers/ofString)))
                        (range 200))]
        (is (= (map #(str "get HTTP/1.1 " % " ") (range 200))
               (map (fn [^CompletableFuture call] (.body ^HttpResponse (.get call 60 TimeUnit/SECONDS))) calls)))))))

(deftest java-http-client-that-offers-http2-gets-http1
  (let [client (-> (HttpClient/newBuilder) (.version HttpClient$Version/HTTP_2) (.sslContext (certs/context)) (.build))]
    (wire/with-server [{:keys [port]} handler {}]
      (is (= ["get HTTP/1.1  " HttpClient$Version/HTTP_1_1]
             ((juxt #(.body ^HttpResponse %) #(.version ^HttpResponse %))
              (.send client (request port "/info" identity) (HttpResponse$BodyHandlers/ofString))))))))

(deftest java-websocket-client-talks-to-us
  (let [texts    (atom [])
        binaries (atom [])
        partial' (StringBuilder.)
        pongs    (CountDownLatch. 1)
        closed   (promise)
        listener (reify WebSocket$Listener
                   (onText [_ ws data last?]
                     (.append partial' data)
                     (when last?
                       (swap! texts conj (str partial'))
                       (.setLength partial' 0))
                     (.request ws 1) nil)
                   (onBinary [_ ws data _last?]
                     (let [bytes (byte-array (.remaining ^ByteBuffer data))]
                       (.get ^ByteBuffer data bytes)
                       (swap! binaries conj bytes))
                     (.request ws 1) nil)
                   (onPong [_ ws _message] (.countDown pongs) (.request ws 1) nil)
                   (onClose [_ _ws code reason] (deliver closed [code reason]) nil)
                   (onError [_ _ws e] (deliver closed e)))
        big      (apply str (repeat 100000 "\u00e9\u20ac"))]
    (wire/with-server [{:keys [port]} handler {}]
      (let [^WebSocket ws (.get ^CompletableFuture (-> (.newWebSocketBuilder (java-client))
                                                       (.buildAsync (URI. (str (if scheme/https? "wss" "ws") "://127.0.0.1:" port "/ws")) listener))
                                30 TimeUnit/SECONDS)
            wait (fn [^CompletableFuture f] (.get f 30 TimeUnit/SECONDS))]
        (wait (.sendText ws "hello" true))
        (wait (.sendText ws "in " false))
        (wait (.sendText ws "parts" true))
        (wait (.sendText ws big true))
        (wait (.sendBinary ws (ByteBuffer/wrap (noise 5000)) true))
        (wait (.sendPing ws (ByteBuffer/wrap (byte-array 3))))
        (is (.await pongs 30 TimeUnit/SECONDS))
        (is (wire/eventually #(= ["hello" "in parts" big] @texts)))
        (is (wire/eventually #(= (sha256 (noise 5000)) (sha256 (byte-array (mapcat seq @binaries))))))
        (wait (.sendClose ws 4000 "done"))
        (is (= [4000 "done"] (deref closed wire/patience-ms :never)))))))

(deftest java-websocket-client-learns-of-a-refused-handshake
  (wire/with-server [{:keys [port]} (constantly {:status 403}) {}]
    (let [result (try (.get ^CompletableFuture (-> (.newWebSocketBuilder (java-client))
                                                   (.buildAsync (URI. (str (if scheme/https? "wss" "ws") "://127.0.0.1:" port "/")) (reify WebSocket$Listener)))
                            30 TimeUnit/SECONDS)
                      (catch java.util.concurrent.ExecutionException e (.getCause e)))]
      (is (instance? java.net.http.WebSocketHandshakeException result))
      (is (= 403 (.statusCode (.getResponse ^java.net.http.WebSocketHandshakeException result)))))))

;; Programs: their last argument is the authority's certificate, or nothing for plain HTTP

(def ^:private authority (if scheme/https? (certs/path "ca.pem") ""))

(defn- installed? [& command]
  (try (zero? (:exit (apply shell/sh command)))
       (catch java.io.IOException _ (println "peers-test: there is no" (first command) "on this machine"))))

(def ^:private node-script
  "const [url, authority] = process.argv.slice(-2);
const http = require(authority ? 'https' : 'http');
const ca = authority ? require('fs').readFileSync(authority) : undefined;
const agent = new http.Agent({keepAlive: true, maxSockets: 1, ca});
const talk = (path, options, body) => new Promise((resolve, reject) => {
  const request = http.request(url + path, {agent, ...options}, response => {
    let text = '';
    response.on('data', piece => text += piece);
    response.on('end', () => resolve(console.log(response.statusCode, text.length > 100 ? text.length : text.trim(), request.reusedSocket)));
  });
  request.on('error', reject);
  (Array.isArray(body) ? body : [body]).forEach(piece => piece && request.write(piece));
  request.end();
});
(async () => {
  await talk('/info?a', {headers: {'X-Test': 'js'}});
  await talk('/echo', {method: 'POST'}, ['in ', 'chunks']);
  await talk('/stream', {});
  await talk('/204', {method: 'DELETE'});
  agent.destroy();
})().catch(error => { console.error(error); process.exit(1); });
")

(deftest node-talks-to-us
  (when (installed? "node" "--version")
    (wire/with-server [{:keys [port]} handler {}]
      (let [{:keys [exit out err]} (shell/sh "node" "-e" node-script "--" (url-of port "") authority)]
        (is (= [0 ["200 get HTTP/1.1 a js false" "200 in chunks true" "200 piece 0" "piece 1" "piece 2" "piece 3" "piece 4 true" "204  true"]]
               [exit (str/split-lines out)])
            err)))))

(def ^:private go-program
  "package main

import (
\t\"crypto/tls\"
\t\"crypto/x509\"
\t\"fmt\"
\t\"io\"
\t\"net/http\"
\t\"os\"
\t\"strings\"
)

func check(err error) {
\tif err != nil {
\t\tfmt.Fprintln(os.Stderr, err)
\t\tos.Exit(1)
\t}
}

func main() {
\turl, authority := os.Args[1], os.Args[2]
\tconfig := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
\tif authority != \"\" {
\t\tpem, err := os.ReadFile(authority)
\t\tcheck(err)
\t\tconfig.RootCAs = x509.NewCertPool()
\t\tconfig.RootCAs.AppendCertsFromPEM(pem)
\t}
\tclient := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
\tfor i := 0; i < 2; i++ {
\t\tresponse, err := client.Post(url+\"/echo\", \"text/plain\", io.MultiReader(strings.NewReader(\"in \"), strings.NewReader(\"chunks\")))
\t\tcheck(err)
\t\tbody, err := io.ReadAll(response.Body)
\t\tcheck(err)
\t\tfmt.Println(response.StatusCode, string(body), response.TLS != nil, response.TLS != nil && response.TLS.DidResume)
\t\tclient.CloseIdleConnections()
\t}
}
")

(deftest go-talks-to-us
  (when (installed? "go" "version")
    (let [folder (.toFile (Files/createTempDirectory "peers-go" (make-array FileAttribute 0)))
          source (io/file folder "main.go")]
      (spit source go-program)
      (wire/with-server [{:keys [port]} handler {}]
        (let [{:keys [exit out err]} (shell/sh "go" "run" (str source) (url-of port "") authority
                                       :env (assoc (into {} (System/getenv)) "GO111MODULE" "off" "GOCACHE" (.getAbsolutePath (io/file "build/go"))))]
          (is (= [0 ["200 in chunks" "200 in chunks"]] [exit (map #(subs % 0 13) (str/split-lines out))]) err)
          (is (= (if scheme/https? ["true false" "true true"] ["false false" "false false"])
                 (map #(subs % 14) (str/split-lines out)))
              "the second connection resumes the session of the first"))))))

(def ^:private python-script
  "import http.client, ssl, sys
port, authority = int(sys.argv[1]), sys.argv[2]
if authority:
    c = http.client.HTTPSConnection('127.0.0.1', port, timeout=60, context=ssl.create_default_context(cafile=authority))
else:
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
for i in range(3):
    c.request('GET', '/info?%d' % i, headers={'X-Test': 'py'})
    r = c.getresponse(); print(r.status, r.read().decode())
c.request('POST', '/echo', body='text')
r = c.getresponse(); print(r.status, r.read().decode())
c.request('POST', '/echo', body=iter([b'a' * 1000, b'b' * 1000]), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
r = c.getresponse(); b = r.read(); print(r.status, len(b))
c.request('HEAD', '/big')
r = c.getresponse(); print(r.status, r.getheader('Content-Length'), len(r.read()))
c.request('GET', '/stream')
r = c.getresponse(); print(r.status, r.read().decode().count('piece'))
")

(deftest python-talks-to-us
  (when (installed? "python3" "--version")
    (wire/with-server [{:keys [port]} handler {}]
      (let [{:keys [exit out err]} (shell/sh "python3" "-c" python-script (str port) authority)]
        (is (= [0 ["200 get HTTP/1.1 0 py" "200 get HTTP/1.1 1 py" "200 get HTTP/1.1 2 py" "200 text" "200 2000"
                   "200 3000000 0" "200 5"]]
               [exit (str/split-lines out)])
            err)))))
