(ns httpkit.tls-server-test
  "A server's TLS port, with Java's clients and ours, curl and openssl."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [demo.app           :as demo]
            [httpkit.files      :as files]
            [httpkit.tls-certs  :as certs]
            [httpkit.tls-wire   :as tls]
            [httpkit.wire       :as wire]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server])
  (:import (java.io ByteArrayInputStream File InputStream)
           (java.net InetSocketAddress URI URL)
           (java.net.http HttpClient HttpRequest HttpResponse$BodyHandlers WebSocket WebSocket$Listener)
           (java.security MessageDigest)
           (java.security.cert X509Certificate)
           (java.util.concurrent CompletableFuture TimeUnit)
           (javax.net.ssl HttpsURLConnection KeyManager SSLContext SSLSocket TrustManagerFactory X509ExtendedKeyManager)
           (org.httpkit HeaderMap HttpUtils)
           (org.httpkit.server HttpServer IHandler ProxyProtocolOption RespCallback TlsOptions)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(defmacro ^:private with-tls
  "Runs `body` with `port` of a TLS server that has the certificate `server`, unless the options say otherwise."
  [[binding handler options] & body]
  `(wire/with-server [server# ~handler (merge {:ssl-port 0, :tls (certs/pem "server")} ~options)]
     (let [~binding (assoc server# :ssl-port (server/server-ssl-port (:server server#)))]
       ~@body)))

;; Ports

(deftest plain-http-and-tls-are-served-side-by-side
  (with-tls [{:keys [port ssl-port server]} #(ok %) {}]
    (is (= "ok" (:body (wire/fetch port "/")) (:body (tls/fetch ssl-port "/"))))
    (is (not= port ssl-port))
    (is (= port (server/server-port server)))))

(deftest a-server-without-plain-http-has-one-port
  (let [stop (server/run-server ok {:ip "127.0.0.1" :http? false :ssl-port 0 :tls (certs/pem "server")})]
    (try
      (let [{:keys [local-port ssl-port server]} (meta stop)]
        (is (= local-port ssl-port (server/server-port server) (server/server-ssl-port server)))
        (is (= 200 (:status (tls/fetch ssl-port "/"))))
        (is (str/includes? (str server) (str "[127.0.0.1:" ssl-port ", running"))))
      (finally (stop)))))

(deftest a-server-without-tls-is-as-before
  (let [stop (server/run-server ok {:ip "127.0.0.1" :port 0})]
    (try
      (is (= #{:local-port :server} (set (keys (meta stop)))))
      (is (nil? (server/server-ssl-port (:server (meta stop)))))
      (is (= [IllegalStateException "the server has no TLS port"]
             (try (server/server-reload-tls! (:server (meta stop))) (catch Throwable t [(class t) (ex-message t)]))))
      (finally (stop)))))

(deftest the-tls-port-is-beside-a-unix-domain-socket-too
  (let [path    (io/file (files/temporary-directory) "socket")
        address (try (.invoke (.getMethod (Class/forName "java.net.UnixDomainSocketAddress") "of" (into-array Class [String]))
                       nil (object-array [(str path)]))
                     (catch ClassNotFoundException _ nil))]
    (when address
      (with-tls [{:keys [port ssl-port]} ok {:address-finder (constantly address)}]
        (is (= -1 port))
        (is (= 200 (:status (tls/fetch ssl-port "/"))))))))

;; The request

(def ^:private plain-keys
  #{:request-method :uri :headers :body :query-string :content-type :async-channel :websocket? :remote-addr
    :server-name :server-port :scheme :protocol :content-length :character-encoding :start-time})

(deftest a-request-says-that-it-came-over-tls
  (let [seen (atom nil)
        see  (fn [req]
               (reset! seen (assoc (select-keys req [:scheme :server-name :server-port :tls :ssl-client-cert :ssl-client-cert-chain])
                              :keys (set (keys req)) :count (count req)
                              :contains (every? #(contains? req %) [:tls :ssl-client-cert :ssl-client-cert-chain])))
               {:status 200})]
    (with-tls [{:keys [port ssl-port]} see {}]
      (wire/fetch port "/")
      (is (= {:scheme :http :server-name "localhost" :server-port 80 :keys plain-keys :count 16 :contains false} @seen)
          "no more keys without TLS")
      (tls/fetch ssl-port "/" {:sni "a.wild.test" :protocols ["TLSv1.3"] :suites ["TLS_AES_128_GCM_SHA256"]})
      (is (= {:scheme :https :server-name "localhost" :server-port 443
              :tls {:version "TLSv1.3" :cipher "TLS13_AES_128_GCM_SHA256" :sni "a.wild.test"}
              :ssl-client-cert nil :ssl-client-cert-chain nil
              :keys (into plain-keys [:tls :ssl-client-cert :ssl-client-cert-chain]) :count 19 :contains true}
             @seen))
      (tls/fetch ssl-port "/" {:protocols ["TLSv1.2"] :suites ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]})
      (is (= {:version "TLSv1.2" :cipher "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" :sni nil} (:tls @seen)))
      (with-open [conn (tls/connect ssl-port)]
        (wire/send! conn "GET / HTTP/1.1\r\nHost: localhost:8443\r\n\r\n")
        (wire/answer conn)
        (is (= 8443 (:server-port @seen)) "of the Host header")))))

(deftest a-map-made-from-a-request-over-tls-has-its-keys
  (let [seen (promise)]
    (with-tls [{:keys [ssl-port]} (fn [req] (deliver seen [(dissoc req :uri :async-channel) (dissoc (assoc req :x 1) :tls) (assoc req :tls 5)]) {:status 200}) {}]
      (tls/fetch ssl-port "/")
      (let [[without-uri without-tls changed] (deref seen wire/patience-ms nil)]
        (is (= "TLSv1.3" (:version (:tls without-uri))))
        (is (= [false nil 19 1] [(contains? without-tls :tls) (:tls without-tls) (count without-tls) (:x without-tls)]))
        (is (= [5 19] [(:tls changed) (count changed)]))))))

;; Versions and certificates

(deftest versions-that-are-not-allowed-are-refused
  (doseq [[allowed expected] {nil                   [200 200]
                              ["TLSv1.2"]           [200 :refused]
                              ["TLSv1.3"]           [:refused 200]
                              ["TLSv1.3" "TLSv1.2"] [200 200]}]
    (with-tls [{:keys [ssl-port]} ok {:ssl-protocols allowed}]
      (is (= expected (for [version ["TLSv1.2" "TLSv1.3"]
                            :let [answer (tls/fetch ssl-port "/" {:protocols [version]})]]
                        (:status answer answer)))
          (pr-str allowed)))))

(deftest a-client-gets-the-certificate-for-the-name-that-it-asks-for
  (certs/issue "exact" "DNS:b.wild.test" certs/p-256)
  (with-tls [{:keys [ssl-port]} ok {:tls (mapv certs/pem ["other" "server" "exact"])}]
    (doseq [version ["TLSv1.2" "TLSv1.3"]
            [sni names] {nil               ["other.test"]
                         "other.test"      ["other.test"]
                         "OTHER.test"      ["other.test"]
                         "localhost"       ["localhost" "*.wild.test"]
                         "a.wild.test"     ["localhost" "*.wild.test"]
                         "b.wild.test"     ["b.wild.test"]
                         "wild.test"       ["other.test"]
                         "c.a.wild.test"   ["other.test"]
                         "unknown.example" ["other.test"]}]
      (is (= names (tls/server-names ssl-port {:sni sni :protocols [version]})) (str version " " sni)))))

(deftest of-two-keys-for-a-name-a-client-gets-the-one-it-can-verify
  (certs/issue "old-clients" "DNS:localhost,DNS:by-rsa" (certs/rsa 2048))
  (with-tls [{:keys [ssl-port]} ok {:tls (mapv certs/pem ["old-clients" "server"])}]
    (let [names #(tls/server-names ssl-port {:sni "localhost" :protocols ["TLSv1.2"] :suites %})]
      (is (= ["localhost" "*.wild.test"] (names ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]))
          "ECDSA first")
      (is (= ["localhost" "by-rsa"] (names ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]))))))

;; Clients' certificates

(defn- subject [^X509Certificate certificate]
  (some-> certificate .getSubjectX500Principal .getName))

(deftest clients-are-asked-for-certificates-as-told
  (certs/issue "for-servers" "DNS:client.test" certs/p-256 "-days" "30")
  (let [see       (fn [req] {:status 200 :body (str (subject (:ssl-client-cert req)))})
        responses (fn [auth]
                    (with-tls [{:keys [ssl-port]} see {:client-auth auth :truststore (certs/path "trust.p12") :trust-password certs/password}]
                      (into {} (for [key-store [nil "client.p12" "expired.p12" "stranger.p12"]
                                     :let [results (set (for [version ["TLSv1.2" "TLSv1.3"]
                                                              :let [answer (tls/fetch ssl-port "/" {:context (certs/context key-store) :protocols [version]})]]
                                                          (:body answer answer)))]]
                                 [key-store (if (= 1 (count results)) (first results) results)]))))]
    (testing "not asked"
      (is (= {nil "" "client.p12" "" "expired.p12" "" "stranger.p12" ""} (responses :none))))
    (testing "asked; Java's clients keep a certificate of another authority to themselves"
      (is (= {nil "" "client.p12" "CN=client" "expired.p12" :refused "stranger.p12" ""} (responses :want))))
    (testing "needed"
      (is (= {nil :refused "client.p12" "CN=client" "expired.p12" :refused "stranger.p12" :refused} (responses :need))))))

(defn- curl [& args]
  (let [process (-> (ProcessBuilder. ^java.util.List (into ["curl" "-sS" "--max-time" "30" "--noproxy" "*"] (map str) args))
                    (.redirectErrorStream true) (.start))
        out     (slurp (.getInputStream process))]
    [(.waitFor process) out]))

(deftest a-certificate-of-a-strange-authority-is-refused-even-if-none-is-needed
  (with-tls [{:keys [ssl-port]} ok {:client-auth :want :tls (assoc (certs/pem "server") :ca (certs/path "ca.pem"))}]
    (let [with (fn [name] (first (curl "--cacert" (certs/path "ca.pem") "--cert" (certs/path (str name ".pem")) "--key" (certs/path (str name ".key"))
                                       (str "https://localhost:" ssl-port "/"))))]
      (is (= 0 (with "client")))
      (is (not= 0 (with "stranger"))))))

(deftest a-certificate-that-is-not-for-clients-is-refused
  (let [ext (certs/path "server-only.cnf")]
    (spit ext "extendedKeyUsage=serverAuth\n")
    (certs/issue "server-only" "DNS:client.test" certs/p-256 "-days" "30" "-extfile" ext)
    (with-tls [{:keys [ssl-port]} ok {:client-auth :need :tls (assoc (certs/pem "server") :ca (certs/path "ca.pem"))}]
      (is (not= 0 (first (curl "--cacert" (certs/path "ca.pem") "--cert" (certs/path "server-only.pem") "--key" (certs/path "server-only.key")
                               (str "https://localhost:" ssl-port "/"))))))))

(deftest a-clients-certificate-is-in-the-request
  (let [seen (atom [])
        see  (fn [req] (swap! seen conj [(:ssl-client-cert req) (:ssl-client-cert-chain req)]) {:status 200})]
    (with-tls [{:keys [ssl-port]} see {:client-auth :need :tls (assoc (certs/pem "server") :ca (certs/path "ca.pem"))}]
      (with-open [conn (tls/connect ssl-port {:context (certs/context "client.p12")})]
        (dotimes [_ 2]
          (wire/send! conn (wire/get-request "/"))
          (is (= 200 (:status (wire/answer conn)))))
        (let [[[leaf chain] [again _]] @seen]
          (is (instance? X509Certificate leaf))
          (is (= "CN=client" (subject leaf)))
          (is (vector? chain))
          (is (= leaf (first chain)))
          (is (identical? leaf again) "decoded once"))))))

(defn- with-junk-in-its-chain
  "The SSLContext of a client that sends its own certificate and then one that cannot be decoded."
  ^SSLContext [key-store]
  (let [store (certs/load-store key-store)
        alias (first (enumeration-seq (.aliases store)))
        junk  (proxy [X509Certificate] []
                (getEncoded [] (.getBytes "no certificate"))
                (getPublicKey [] (.getPublicKey (.getCertificate store alias))))
        chain (into-array X509Certificate [(.getCertificate store alias) junk])
        key   (.getKey store alias (.toCharArray ^String certs/password))
        keys  (proxy [X509ExtendedKeyManager] []
                (chooseClientAlias [_ _ _] alias)
                (getCertificateChain [_] chain)
                (getPrivateKey [_] key))
        trust (doto (TrustManagerFactory/getInstance (TrustManagerFactory/getDefaultAlgorithm))
                (.init (certs/load-store "trust.p12")))]
    (doto (SSLContext/getInstance "TLS")
      (.init (into-array KeyManager [keys]) (.getTrustManagers trust) nil))))

(deftest a-clients-own-certificate-does-not-depend-on-what-else-it-sends
  (let [see (fn [req]
              {:status 200 :body (str (subject (:ssl-client-cert req)) " "
                                      (try (count (:ssl-client-cert-chain req)) (catch IllegalStateException _ "junk")))})]
    (with-tls [{:keys [ssl-port]} see {:client-auth :need :tls (assoc (certs/pem "server") :ca (certs/path "ca.pem"))}]
      (is (= "CN=client junk" (:body (tls/fetch ssl-port "/" {:context (with-junk-in-its-chain "client.p12")})))))))

;; Other speakers

(deftest plain-http-on-the-tls-port-is-told-where-it-is
  (with-tls [{:keys [ssl-port]} ok {}]
    (with-open [conn (wire/connect ssl-port)]
      (wire/send! conn (str "GET /a?b=c HTTP/1.1\r\nHost: a.example:" ssl-port "\r\n\r\n"))
      (let [{:keys [status headers body]} (wire/answer conn)]
        (is (= [400 "close"] [status (str/lower-case (headers "connection"))]))
        (is (= (str "This port speaks HTTPS: use https://a.example:" ssl-port "/a?b=c") (str/trim body))))
      (is (wire/closed? conn)))
    (with-open [conn (wire/connect ssl-port)]
      (wire/send! conn "\u0000\u0001\u0002\u0003nonsense")
      (is (wire/closed? conn)))))

(deftest plain-http-is-redirected-if-wanted
  (with-tls [{:keys [port ssl-port]} ok {:ssl-redirect? true}]
    (doseq [to [port ssl-port]]
      (with-open [conn (wire/connect to)]
        (wire/send! conn (str "GET /a?b=c HTTP/1.1\r\nHost: a.example:" to "\r\n\r\n"))
        (let [{:keys [status headers]} (wire/answer conn)]
          (is (= [308 (str "https://a.example:" ssl-port "/a?b=c")] [status (headers "location")])))))
    (is (= 200 (:status (tls/fetch ssl-port "/"))) "over TLS the handler responds"))
  (testing "on the TLS port alone"
    (with-tls [{:keys [ssl-port]} ok {:ssl-redirect? true :http? false}]
      (with-open [conn (wire/connect ssl-port)]
        (wire/send! conn (str "GET /a?b=c HTTP/1.1\r\nHost: a.example:" ssl-port "\r\n\r\n"))
        (let [{:keys [status headers]} (wire/answer conn)]
          (is (= [308 (str "https://a.example:" ssl-port "/a?b=c")] [status (headers "location")])))))))

(deftest what-cannot-be-redirected-gets-its-response-on-a-port-that-only-redirects-too
  (let [line   "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"
        status (fn [port text] (:status (wire/fetch port text)))]
    (with-tls [{:keys [port]} ok {:ssl-redirect? true, :proxy-protocol :enable}]
      (is (= 400 (status port (wire/get-request "/"))) "no PROXY header")
      (is (= 400 (status port "PROXY TCP4 192.0.2.1\r\n")))
      (is (= 400 (status port (str line "get / HTTP/1.1\r\nHost: h\r\n\r\n"))))
      (is (= 308 (status port (str line "\r\n" (wire/get-request "/"))))))
    (with-tls [{:keys [port]} ok {:ssl-redirect? true, :header-timeout 1000}]
      (is (= 408 (status port "GET / HTTP/1.1\r\nHos"))))))

(deftest a-failed-handshake-is-an-event-and-no-log-line
  (with-tls [{:keys [ssl-port events errors warnings]} ok {}]
    (is (= :refused (tls/fetch ssl-port "/" {:context (javax.net.ssl.SSLContext/getDefault)})) "the JVM does not trust the authority")
    (is (wire/eventually #(some #{"httpkit.server.tls.handshake.error"} @events)))
    (is (= [[] []] [@errors @warnings]))))

(deftest clients-of-every-kind-are-served
  (with-tls [{:keys [ssl-port]} (fn [req] {:status 200 :body (str "hello " (:version (:tls req)))}) {}]
    (let [url (str "https://localhost:" ssl-port "/")]
      (testing "HttpsURLConnection"
        (let [^HttpsURLConnection conn (doto ^HttpsURLConnection (.openConnection (URL. url))
                                         (.setSSLSocketFactory (.getSocketFactory (certs/context))))]
          (is (= "hello TLSv1.3" (slurp (.getInputStream conn))))))
      (testing "java.net.http, which would like HTTP/2"
        (let [response (.send (.build (.sslContext (HttpClient/newBuilder) (certs/context)))
                              (.build (HttpRequest/newBuilder (URI. url))) (HttpResponse$BodyHandlers/ofString))]
          (is (= "hello TLSv1.3" (.body response)))
          (is (= "HTTP_1_1" (str (.version response))))))
      (testing "our client"
        (is (= "hello TLSv1.3" (:body @(client/get url {:insecure? true :as :text})))))
      (testing "curl"
        (doseq [version ["1.2" "1.3"]]
          (is (= [0 (str "hello TLSv" version)]
                 (curl "--cacert" (certs/path "ca.pem") (str "--tlsv" version) "--tls-max" version url)))))
      (testing "openssl, which verifies the chain and resumes"
        (let [out (certs/run "bash" "-c"
                    (format "printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -ign_eof -connect 127.0.0.1:%d -servername localhost -verify_hostname localhost -CAfile %s -verify_return_error"
                            ssl-port (certs/path "ca.pem")))]
          (is (str/includes? out "Verify return code: 0 (ok)"))
          (is (str/includes? out "hello TLSv1.3")))))))

(deftest a-protocol-that-the-server-lacks-is-refused-in-the-handshake
  (with-tls [{:keys [ssl-port]} ok {}]
    (with-open [socket (tls/socket ssl-port {:alpn ["h2" "http/1.1"]})]
      (is (= "http/1.1" (.getApplicationProtocol ^SSLSocket socket))))
    (is (= 200 (:status (tls/fetch ssl-port "/"))) "a client that offers none")
    (is (= :refused (tls/fetch ssl-port "/" {:alpn ["h2"]})))))

;; What goes through it

(defn- sha [^InputStream in]
  (let [digest (MessageDigest/getInstance "SHA-256")
        buffer (byte-array 65536)]
    (loop [n (.read in buffer)]
      (when (pos? n)
        (.update digest buffer 0 n)
        (recur (.read in buffer))))
    (BigInteger. 1 (.digest digest))))

(defn- random-bytes ^bytes [n]
  (let [bytes (byte-array n)]
    (.nextBytes (java.util.Random. n) bytes)
    bytes))

(deftest bodies-of-every-kind-arrive-whole
  (let [big    (random-bytes 5000000)
        file   (doto (File/createTempFile "body" nil) (.deleteOnExit))
        _      (with-open [out (io/output-stream file)] (.write out big))
        lines  (map #(str "line " % "\n") (range 100000))
        bodies {"/bytes"  #(do big)
                "/file"   #(do file)
                "/part"   #(server/file-part file 1000000 3000000)
                "/stream" #(ByteArrayInputStream. big)
                "/seq"    #(do lines)
                "/string" #(do "x")}
        wanted {"/part" (ByteArrayInputStream. big 1000000 3000000)
                "/seq"  (io/input-stream (.getBytes ^String (apply str lines)))
                "/string" (io/input-stream (.getBytes "x"))}]
    (with-tls [{:keys [ssl-port]} (fn [req] {:status 200 :body ((bodies (:uri req)))}) {}]
      (with-open [conn (tls/connect ssl-port)]
        (doseq [path (keys bodies)]
          (wire/send! conn (wire/get-request path))
          (is (= (sha (wanted path (ByteArrayInputStream. big)))
                 (sha (ByteArrayInputStream. (wire/latin1 (:body (wire/answer conn))))))
              path))))))

(deftest request-bodies-arrive-whole
  (with-tls [{:keys [ssl-port]} (fn [req] {:status 200 :body (str (sha (:body req)))}) {}]
    (with-open [conn (tls/connect ssl-port)]
      (doseq [n [1 16384 16385 5000000]
              :let [bytes (random-bytes n)]]
        (wire/send! conn (str "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " n "\r\n\r\n") bytes)
        (is (= (str (sha (ByteArrayInputStream. bytes))) (:body (wire/answer conn))) (str n))))))

(deftest pipelined-requests-are-answered-in-order
  (with-tls [{:keys [ssl-port]} (fn [req] {:status 200 :body (:uri req)}) {}]
    (with-open [conn (tls/connect ssl-port)]
      (wire/send! conn (apply str (map #(wire/get-request (str "/" %)) (range 100))))
      (is (= (mapv #(str "/" %) (range 100)) (mapv (fn [_] (:body (wire/answer conn))) (range 100)))))))

(deftest a-client-that-ends-its-side-gets-its-response
  (let [go (promise)]
    (with-tls [{:keys [ssl-port]} (fn [_] (deref go wire/patience-ms nil) {:status 200 :body "late"}) {}]
      (with-open [conn (tls/connect ssl-port {:protocols ["TLSv1.3"]})]
        (wire/send! conn (wire/get-request "/"))
        (wire/half-close! conn)
        (deliver go true)
        (is (= "late" (:body (wire/answer conn))))))))

(deftest channels-stream-over-tls-and-hear-of-the-end
  (let [closed (promise)
        handle (fn [req]
                 (server/as-channel req
                   {:on-open  (fn [ch]
                                (server/send! ch {:status 200 :headers {"Content-Type" "text/event-stream"} :body "data: 1\n\n"} false)
                                (server/send! ch "data: 2\n\n" false))
                    :on-close (fn [_ status] (deliver closed status))}))]
    (with-tls [{:keys [ssl-port]} handle {}]
      (with-open [conn (tls/connect ssl-port)]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/read-head conn))))
        (is (= "data: 1\n\n" (do (wire/read-line! conn) (String. (wire/read-exactly conn 9)))))))
    (is (= :client-close (deref closed wire/patience-ms :late)))))

(deftest websockets-work-over-tls
  (let [status (promise)
        echo   (fn [req] (server/as-channel req {:on-receive (fn [ch message] (server/send! ch message))
                                                 :on-close   (fn [_ s] (deliver status s))}))
        long   (apply str (repeat 200000 "x"))]
    (with-tls [{:keys [ssl-port]} echo {}]
      (let [texts    (atom [])
            part     (StringBuilder.)
            listener (reify WebSocket$Listener
                       (onText [_ ws data last?]
                         (.append part data)
                         (when last?
                           (swap! texts conj (str part))
                           (.setLength part 0))
                         (.request ws 1)
                         nil))
            ^WebSocket ws (-> (.build (.sslContext (HttpClient/newBuilder) (certs/context)))
                   (.newWebSocketBuilder)
                   (.buildAsync (URI. (str "wss://localhost:" ssl-port "/")) listener)
                   (.get wire/patience-ms TimeUnit/MILLISECONDS))]
        (doseq [message ["one" long "three"]]
          (.get ^CompletableFuture (.sendText ws ^String message true) wire/patience-ms TimeUnit/MILLISECONDS))
        (is (wire/eventually #(= ["one" long "three"] @texts)))
        (.sendClose ws 1000 "")
        (is (= :normal (deref status wire/patience-ms :late)))))))

(deftest ring-async-handlers-respond-over-tls
  (with-tls [{:keys [ssl-port]} (fn [req respond _] (future (respond {:status 200 :body (name (:scheme req))}))) {:ring-async? true}]
    (is (= "https" (:body (tls/fetch ssl-port "/"))))))

;; The end

(deftest a-stopping-server-serves-what-is-open-and-says-goodbye
  (let [arrived (promise)
        go      (promise)
        server  (wire/start (fn [_] (deliver arrived true) (deref go wire/patience-ms nil) {:status 200 :body "in time"})
                            {:ssl-port 0 :tls (certs/pem "server")})
        port    (server/server-ssl-port (:server server))]
    (with-open [busy (tls/connect port)
                idle (tls/connect port)]
      (wire/send! busy (wire/get-request "/"))
      (is (true? (deref arrived wire/patience-ms false)))
      (let [stopped (future (wire/stop server 10000))]
        (is (wire/eventually #(= :stopping (server/server-status (:server server)))))
        (deliver go true)
        (is (= "in time" (:body (wire/answer busy))))
        (is (wire/closed? busy))
        (is (wire/closed? idle) "an end that Java's engine does not take for a truncation")
        (is (true? (deref stopped wire/patience-ms :late)))))
    (is (= port (server/server-ssl-port (:server server))) "after the stop too")
    (is (thrown? java.net.ConnectException (tls/connect port)))))

(deftest the-demo-is-served-over-tls
  (let [stop (demo/start {:port 0 :ssl-port 0})]
    (try
      (is (= 200 (:status @(client/get (str "https://localhost:" (:ssl-port (meta stop)) "/") {:insecure? true}))))
      (finally (stop)))))

(deftest a-draining-server-serves-what-is-open
  (let [arrived (promise)
        go      (promise)
        {:keys [server]} (wire/start (fn [_] (deliver arrived true) (deref go wire/patience-ms nil) {:status 200 :body "in time"})
                           {:http? false :ssl-port 0 :tls (certs/pem "server")})
        port    (server/server-ssl-port server)]
    (with-open [busy (tls/connect port)]
      (wire/send! busy (wire/get-request "/"))
      (is (true? (deref arrived wire/patience-ms false)))
      (let [drained (server/server-drain! server {:timeout 20000})]
        (is (wire/eventually #(try (.close (tls/connect port)) false
                                   (catch java.net.ConnectException _ true)))
            "the port is closed")
        (deliver go true)
        (is (= ["in time" "Close"] ((juxt :body #(get-in % [:headers "connection"])) (wire/answer busy))))
        (is (wire/closed? busy))
        (is (= {:requests 1 :websockets 0 :cut 0} (deref drained wire/patience-ms :late)))))))

;; Programs in Java

(deftest an-embedders-server-can-have-a-tls-port
  (let [seen    (atom [])
        handler (reify IHandler
                  (^void handle [_ ^org.httpkit.server.HttpRequest request ^RespCallback callback]
                    (let [session (.getTlsSession request)]
                      (swap! seen conj (when session
                                         [(.version session) (.serverName session) (mapv subject (.peerCertificates session))])))
                    (.run callback (HttpUtils/HttpEncode 200 (HeaderMap.) "java")))
                  (close [_ _]))
        server  (HttpServer. "127.0.0.1" 0 handler 1000000 8192 1000000 ProxyProtocolOption/DISABLED)
        tls     (-> (TlsOptions.)
                    (.certificate (certs/path "server.pem") (certs/path "server.key") nil)
                    (.trustStore (certs/path "trust.p12") nil (.toCharArray ^String certs/password))
                    (.clientAuth org.httpkit.server.TlsOptions$ClientAuth/WANT))
        address (InetSocketAddress. "127.0.0.1" 0)]
    (is (thrown? java.io.FileNotFoundException (.listen (.tls server) address (.certificate (TlsOptions.) "no.pem" "no.key" nil))))
    (is (= [-1 false] [(.port (.tls server)) (.isOpen (.tls server))]))
    (let [port (.listen (.tls server) address tls)]
      (.start server)
      (try
        (is (= port (.port (.tls server))))
        (is (thrown? IllegalStateException (.listen (.tls server) address tls)) "one port, before the start")
        (is (= "java" (:body (tls/fetch port "/" {:sni "localhost" :context (certs/context "client.p12")}))))
        (is (= "java" (:body (wire/fetch (.getPort server) "/"))))
        (is (= [["TLSv1.3" "localhost" ["CN=client"]] nil] (mapv #(if % (update % 2 (partial take 1)) %) @seen)))
        (finally (.stop server 100))))))
