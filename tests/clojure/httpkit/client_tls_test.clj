(ns httpkit.client-tls-test
  "TLS by both ways: the built-in one and the JDK's engines. What a JVM trusts is
  set when it starts, so most of it runs in JVMs of their own."
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.client-certs :as certs]
            [httpkit.client-peer :as peer]
            [httpkit.subprocess :as subprocess]
            [org.httpkit.client :as client]
            [org.httpkit.sni-client :as sni-client])
  (:import [java.io InputStream IOException]
           [java.net Socket URI]
           [java.security.cert X509Certificate]
           [javax.net.ssl ExtendedSSLSession SNIHostName SSLEngine SSLException SSLHandshakeException
            SSLPeerUnverifiedException SSLServerSocket SSLSocket]
           [org.httpkit ProtocolException]
           [org.httpkit.client ClientSslEngineFactory HttpClient HttpClient$SSLEngineURIConfigurer]))

(def ^:private ok (peer/answering (fn [{:keys [body]}] (str "ok" (count body)))))

(defmacro ^:private with-tls-peer [[p key-store & options] & body]
  `(peer/with-peer [~p ok :server (certs/server-socket ~key-store ~@options)] ~@body))

(defn- localhost-key [] (certs/signed "localhost" "dns:localhost"))
(defn- loopback-key [] (certs/signed "loopback" "ip:127.0.0.1"))
(defn- other-key [] (certs/signed "other" "dns:other.test"))

(defn- via-engine
  "A client whose configurer is its own, so that engines are used."
  []
  (client/make-client {:ssl-configurer (fn [engine uri] (sni-client/ssl-configurer engine uri))}))

(deftest unknown-authorities-are-refused-by-both-ways
  (with-tls-peer [p (localhost-key)]
    (let [java-way (via-engine)]
      (doseq [c [@client/default-client @client/legacy-client java-way]]
        (let [{:keys [error]} @(client/get (certs/https-url p "/") {:client c})]
          (is (= SSLHandshakeException (class error)))
          (is (str/includes? (str (ex-message error)) "unable to find valid certification path to requested target"))))
      (client/client-stop! java-way))
    (is (empty? @(:requests p)))))

(deftest plaintext-peers-are-named
  (peer/with-peer [p (fn [conn]
                       (peer/send! conn "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                       (peer/await-end! conn))]
    (let [java-way (via-engine)]
      (doseq [c [@client/default-client java-way]]
        (is (instance? SSLException (:error @(client/get (certs/https-url p "/") {:client c})))))
      (client/client-stop! java-way))))

(deftest tls-peers-asked-in-the-clear-are-named
  (with-tls-peer [p (localhost-key)]
    (let [{:keys [error]} @(client/get (:url p))]
      (is (= ProtocolException (class error)))
      (is (str/includes? (ex-message error) "https://"))))
  (testing "whichever alert they send"
    (doseq [description [10 50 80]]
      (peer/with-peer [p (fn [conn]
                           (peer/read-head! conn)
                           (peer/send-bytes! conn (byte-array [21 3 1 0 2 2 description]))
                           (peer/close! conn))]
        (is (str/includes? (ex-message (:error @(client/get (:url p)))) "https://"))))))

(deftest a-peer-that-leaves-during-the-handshake
  (peer/with-peer [p (fn [conn] (.readNBytes ^java.io.InputStream (:in conn) 5) (peer/close! conn))]
    (let [java-way (via-engine)]
      (doseq [c [@client/default-client java-way]]
        (let [{:keys [error]} @(client/get (certs/https-url p "/") {:client c})]
          (is (some? error))
          (is (contains? #{ProtocolException java.net.SocketException} (class error)))))
      (client/client-stop! java-way))))

(deftest insecure-requests-accept-anything
  (with-tls-peer [p (other-key)]
    (let [java-way (via-engine)]
      (doseq [opts [{} {:client java-way} {:sslengine (client/make-ssl-engine)} {:client client/legacy-client}]
              url  [(certs/https-url p "/") (str "https://127.0.0.1:" (:port p) "/")]]
        (is (= "ok0" (:body @(client/get url (assoc opts :insecure? true))))))
      (testing "and never share a connection with others"
        (let [c (client/make-client {})]
          (is (= 200 (:status @(client/get (certs/https-url p "/") {:client c :insecure? true}))))
          (is (= SSLHandshakeException (class (:error @(client/get (certs/https-url p "/") {:client c})))))
          (client/client-stop! c)))
      (client/client-stop! java-way))))

(deftest engines-of-ones-own
  (with-tls-peer [p (localhost-key)]
    (let [context (certs/context nil)
          c       (client/make-client {})
          get     (fn [engine & [opts]] @(client/get (certs/https-url p "/") (assoc opts :client c :sslengine engine)))
          engine  (client/make-ssl-engine context)]
      (is (= "ok0" (:body (get engine))))
      (is (= "ok0" (:body (get engine))) "again on its connection")
      (is (= 1 (count @(:sockets p))))
      (is (= 1 (:java-hosted (client/client-stats c))))
      (testing "a second handshake is refused in words"
        (run! #(.close ^java.net.Socket %) @(:sockets p))
        (is (peer/eventually #(zero? (:idle (client/client-stats c)))))
        (let [{:keys [error]} (get engine)]
          (is (= SSLException (class error)))
          (is (str/includes? (ex-message error) "sslengine"))))
      (testing "each has its own connection"
        (is (= "ok0" (:body (get (client/make-ssl-engine context)))))
        (is (= "ok0" (:body (get (client/make-ssl-engine context))))))
      (testing "large bodies both ways"
        (let [body (apply str (repeat 3000000 "x"))]
          (is (= "ok3000000" (:body @(client/post (certs/https-url p "/")
                                                  {:client c :body body :sslengine (client/make-ssl-engine context)})))))
        (peer/with-peer [q (peer/answering (constantly (apply str (repeat 3000000 "y"))))
                         :server (certs/server-socket (localhost-key))]
          (is (= 3000000 (count (:body @(client/get (certs/https-url q "/")
                                                    {:client c :sslengine (client/make-ssl-engine context)})))))))
      (testing "the name is checked on them too"
        (with-tls-peer [q (other-key)]
          (is (= SSLHandshakeException
                 (class (:error @(client/get (certs/https-url q "/")
                                             {:client c :sslengine (client/make-ssl-engine context)})))))))
      (client/client-stop! c))))

(deftest engines-speak-tls-12-too
  (with-tls-peer [p (localhost-key) :protocols ["TLSv1.2"]]
    (dotimes [_ 2]
      (is (= "ok5" (:body @(client/post (certs/https-url p "/")
                                        {:body "12345" :sslengine (client/make-ssl-engine (certs/context nil))})))))))

(defn- endless-body []
  (proxy [InputStream] [] (read ([] 0) ([_ _ length] length))))

(deftest a-peer-that-says-goodbye-during-an-upload-ends-it
  (peer/with-peer [p (fn [{:keys [^InputStream in socket] :as conn}]
                       (peer/read-head! conn)
                       (.readNBytes in (+ 400000 (rand-int 1000000)))
                       (.shutdownOutput ^SSLSocket socket)
                       (peer/await-end! conn))
                   :server (certs/server-socket (localhost-key) :protocols ["TLSv1.2"])]
    (let [c       (via-engine)
          attempt #(:error (deref (client/post (certs/https-url p "/")
                                               {:client c :insecure? true :body (endless-body) :chunked? true})
                                  5000 {:error :timeout}))]
      (loop [left 20]
        (when (pos? left)
          (let [error (attempt)]
            (when (is (or (instance? ProtocolException error) (instance? IOException error)))
              (recur (dec left))))))
      (client/client-stop! c))))

(defn- dripping-relay
  "Carries a connection to `port`; the first bytes from there come in pieces, with pauses of 150 ms."
  [port]
  (fn [{:keys [^InputStream in] :as conn}]
    (with-open [target (Socket. "127.0.0.1" (int port))]
      (doto (Thread. ^Runnable #(try (.transferTo in (.getOutputStream target)) (catch IOException _)))
        (.setDaemon true)
        (.start))
      (let [from (.getInputStream target)]
        (loop [pieces 8]
          (let [bytes (byte-array (if (pos? pieces) 80 65536))
                n     (.read from bytes)]
            (when (pos? n)
              (when (pos? pieces) (Thread/sleep 150))
              (peer/send-bytes! conn (java.util.Arrays/copyOf bytes n))
              (recur (dec pieces)))))))))

(deftest bytes-of-a-handshake-are-no-silence
  (with-tls-peer [target (localhost-key)]
    (peer/with-peer [p (dripping-relay (:port target))]
      (let [java-way (via-engine)]
        (doseq [c [@client/default-client java-way]]
          (is (= "ok0" (:body @(client/get (certs/https-url p "/") {:client c :insecure? true :idle-timeout 800
                                                                    :keepalive 0})))))
        (client/client-stop! java-way)))))

(deftest configurers-see-every-https-request
  (let [calls (atom [])
        c     (client/make-client {:ssl-configurer (fn [engine uri] (swap! calls conj [(instance? SSLEngine engine) uri]))})]
    (testing "before a connection is made"
      (let [url (str "https://127.0.0.1:1/x")]
        (is (= java.net.ConnectException (class (:error @(client/get url {:client c})))))
        (is (= [[true (URI. url)]] @calls))))
    (testing "also when a pooled one serves it"
      (reset! calls [])
      (with-tls-peer [p (localhost-key)]
        (let [engine (client/make-ssl-engine (certs/context nil))]
          (dotimes [_ 3]
            (is (= 200 (:status @(client/get (certs/https-url p "/") {:client c :sslengine engine})))))
          (is (= 3 (count @calls)))
          (is (= 1 (count @(:sockets p)))))))
    (testing "with the proxy's URI for an https proxy"
      (reset! calls [])
      (is (some? (:error @(client/get "http://t.test/" {:client c :proxy-url "https://127.0.0.1:1"}))))
      (is (= [[true (URI. "https://127.0.0.1:1")]] @calls)))
    (client/client-stop! c))
  (testing "and their exceptions are delivered"
    (let [boom (IllegalStateException. "no")
          c    (client/make-client {:ssl-configurer (fn [_ _] (throw boom))})]
      (is (identical? boom (:error @(client/get "https://127.0.0.1:1/" {:client c}))))
      (client/client-stop! c))))

(deftest names-that-cannot-be-indicated-are-refused
  (let [error #(:error @(client/get "https://localhost.:1/" %))]
    (is (= IllegalArgumentException (class (error {}))))
    (is (not= IllegalArgumentException (class (error {:client client/legacy-client}))) "a client without SNI rules")))

(deftest the-sni-configurer
  (let [configured (fn [opts url]
                     (let [engine (.createSSLEngine (certs/context nil))]
                       (is (identical? engine (if opts
                                                (sni-client/ssl-configurer opts engine (URI. url))
                                                (sni-client/ssl-configurer engine (URI. url)))))
                       (let [ps (.getSSLParameters engine)]
                         [(mapv #(.getAsciiName ^SNIHostName %) (.getServerNames ps))
                          (.getEndpointIdentificationAlgorithm ps)])))]
    (is (= [["h.test"] "HTTPS"] (configured nil "https://h.test/")))
    (is (= [[] "HTTPS"] (configured nil "https://127.0.0.1/")))
    (is (= [[] "HTTPS"] (configured nil "https://[::1]/")))
    (is (= [["h.test"] nil] (configured {:hostname-verification? false} "https://h.test/")))
    (is (= [[] "HTTPS"] (configured {:sni? false} "https://h.test/"))))
  (is (nil? @sni-client/default-client)))

(deftest trust-anybody-engines-are-new-and-in-client-mode
  (let [engines (doall (pmap (fn [_] (ClientSslEngineFactory/trustAnybody)) (range 8)))]
    (is (= 8 (count (set engines))))
    (is (every? #(.getUseClientMode ^SSLEngine %) engines))))

;;; In a JVM that trusts the test CA

(defn- in-jvm
  "Value of the form, evaluated in a JVM of its own where `client` is the client's namespace alias."
  [jvm-args form]
  (let [{:keys [out exit]} (subprocess/run
                            (str "(require '[org.httpkit.client :as client])"
                                 "(println) (prn " (pr-str form) ") (flush) (System/exit 0)")
                            :jvm-args (into (if-let [path (System/getProperty "http-kit.native.path")]
                                              [(str "-Dhttp-kit.native.path=" path)]
                                              [])
                                            jvm-args))]
    (is (zero? exit) out)
    (edn/read-string (last (str/split-lines out)))))

(defn- outcome
  "Form: what becomes of a GET with these options."
  [url opts]
  `(let [c# (:client ~opts client/default-client)
         r# @(client/get ~url (assoc ~opts :client c#))]
     (or (:body r#) [(.getName (class (:error r#))) (.getMessage ^Throwable (:error r#))])))

(defn- stat [k] `(~k (client/client-stats client/default-client)))

(deftest trusted-authorities-are-accepted-by-both-ways
  (with-tls-peer [p (localhost-key)]
    (with-tls-peer [ip (loopback-key)]
      (with-tls-peer [other (other-key)]
        (with-tls-peer [old (certs/signed "old" "dns:localhost" "-startdate" "-10d" "-validity" "5")]
          (with-tls-peer [tls12 (localhost-key) :protocols ["TLSv1.2"]]
            (let [by-ip #(str "https://127.0.0.1:" (:port %) "/")
                  forms [(outcome (certs/https-url p "/") {})
                         (outcome (certs/https-url p "/") {})
                         (outcome (certs/https-url tls12 "/") {})
                         (outcome (by-ip ip) {})
                         (outcome (certs/https-url other "/") {})
                         (outcome (by-ip p) {})
                         (outcome (certs/https-url other "/") {:client `client/legacy-client})
                         (outcome (certs/https-url old "/") {})
                         (stat :native-tls)
                         (stat :java-hosted)]
                  handshake "javax.net.ssl.SSLHandshakeException"]
              (doseq [[way args] {"built-in" [] "engine" ["-Dhttp-kit.client.tls=java"]}]
                (testing way
                  (let [[a b c d wrong-name wrong-ip legacy expired native hosted] (in-jvm (into (certs/jvm-args nil) args) forms)]
                    (is (= ["ok0" "ok0" "ok0" "ok0"] [a b c d]))
                    ;; Newer JDKs put the alert's name before the text.
                    (doseq [[[class message] text]
                            {wrong-name "No subject alternative DNS name matching localhost found."
                             wrong-ip   "No subject alternative names matching IP address 127.0.0.1 found"}]
                      (is (= handshake class))
                      (is (str/ends-with? message text)))
                    (is (= "ok0" legacy) "which host it is for is not checked")
                    (is (= handshake (first expired)))
                    (is (if (= way "built-in")
                          (and (pos? native) (zero? hosted))
                          (and (zero? native) (pos? hosted))))))))))))))

(defn- with-suites [^SSLServerSocket socket & suites]
  (doto socket (.setEnabledCipherSuites (into-array String suites))))

(deftest what-the-built-in-tls-does-not-do-the-jdks-does
  (let [cbc (with-suites (certs/server-socket (localhost-key) :protocols ["TLSv1.2"])
                         "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256")]
    (peer/with-peer [suites ok :server cbc]
      (peer/with-peer [version-1 ok :server (certs/server-socket @certs/version-1)]
        (with-tls-peer [other (other-key)]
          (testing "nothing is checked"
            (doseq [p [suites version-1]]
              (is (= "ok3" (:body @(client/post (certs/https-url p "/") {:insecure? true :body "abc"}))))))
          (testing "trust is the JVM's, names are checked"
            (let [by-ip #(str "https://127.0.0.1:" (:port %) "/")
                  [a b c wrong-name wrong-ip untrusted]
                  (in-jvm (certs/jvm-args nil)
                          [(outcome (certs/https-url suites "/") {})
                           (outcome (certs/https-url suites "/") {:client `client/legacy-client})
                           (outcome (by-ip suites) {:client `client/legacy-client})
                           (outcome (certs/https-url other "/") {})
                           (outcome (by-ip suites) {})
                           (outcome (certs/https-url version-1 "/") {})])
                  handshake "javax.net.ssl.SSLHandshakeException"]
              (is (= ["ok0" "ok0" "ok0"] [a b c]))
              (is (= [handshake handshake handshake] (map first [wrong-name wrong-ip untrusted])))))
          (testing "a certificate of X.509 version 1 is good when it is itself trusted"
            (is (= "ok0" (in-jvm (certs/jvm-args nil @certs/version-1-trust)
                                 (outcome (certs/https-url version-1 "/") {}))))))))))

(deftest settings-of-the-jdks-tls-are-left-to-it
  (with-tls-peer [p (localhost-key)]
    (is (= ["ok0" 0 1] (in-jvm (conj (certs/jvm-args nil) "-Djsse.enableSNIExtension=false")
                               [(outcome (certs/https-url p "/") {}) (stat :native-tls) (stat :java-hosted)])))))

(deftest the-jvms-own-key-is-presented
  (let [client-key (certs/signed "client" "dns:client.test")]
    (with-tls-peer [p (localhost-key) :client-auth? true]
      (doseq [[args native hosted] [[[] 1 0] [["-Dhttp-kit.client.tls=java"] 0 1]]]
        (is (= ["ok0" native hosted] (in-jvm (into (certs/jvm-args client-key) args)
                                             [(outcome (certs/https-url p "/") {}) (stat :native-tls) (stat :java-hosted)])))
        (testing "and its lack is the server's to refuse"
          (is (vector? (in-jvm (into (certs/jvm-args nil) args) (outcome (certs/https-url p "/") {})))))))))

(defn- certificates-shown
  "Serves with the names of the client's certificates as text."
  [{:keys [^SSLSocket socket] :as conn}]
  (peer/read-request! conn)
  (peer/respond! conn (try (str/join " " (map #(.getName (.getSubjectX500Principal ^X509Certificate %))
                                              (.getPeerCertificates (.getSession socket))))
                           (catch SSLPeerUnverifiedException _ "none"))))

(deftest the-jvms-own-key-is-shown-only-to-servers-that-know-its-issuer
  (let [client-key (certs/signed "client" "dns:client.test")]
    (doseq [protocols [["TLSv1.3"] ["TLSv1.2"]]]
      (peer/with-peer [knows certificates-shown
                       :server (certs/server-socket (localhost-key) :wants-client? true :protocols protocols)]
        (peer/with-peer [stranger certificates-shown
                         :server (certs/server-socket (localhost-key) :wants-client? true :protocols protocols
                                                      :trust @certs/version-1-trust)]
          (doseq [[way args] {"built-in" [] "engine" ["-Dhttp-kit.client.tls=java"]}]
            (testing (str way " " protocols)
              (let [get (fn [p opts] (outcome (certs/https-url p "/") opts))
                    [known unknown insecure] (in-jvm (into (certs/jvm-args client-key) args)
                                                     [(get knows {}) (get stranger {}) (get knows {:insecure? true})])]
                (is (= ["CN=client CN=ca" "none" "none"] [known unknown insecure]))))))))))

(deftest a-replaced-default-context-is-used
  (with-tls-peer [p (localhost-key)]
    (is (= ["ok0" 1]
           (in-jvm []
                   `(do (let [store# (java.security.KeyStore/getInstance "PKCS12")
                              trust# (javax.net.ssl.TrustManagerFactory/getInstance
                                      (javax.net.ssl.TrustManagerFactory/getDefaultAlgorithm))
                              ctx#   (javax.net.ssl.SSLContext/getInstance "TLS")]
                          (with-open [in# (java.io.FileInputStream. ~(str @certs/truststore))]
                            (.load store# in# (.toCharArray ~certs/password)))
                          (.init trust# store#)
                          (.init ctx# nil (.getTrustManagers trust#) nil)
                          (javax.net.ssl.SSLContext/setDefault ctx#))
                        [~(outcome (certs/https-url p "/") {}) ~(stat :java-hosted)]))))))

(deftest tunnels-end-at-the-target
  (with-tls-peer [target (localhost-key)]
    (let [seen (atom [])]
      (peer/with-peer [proxy (fn [conn]
                               (swap! seen conj (:line (peer/read-head! conn)))
                               (let [through (java.net.Socket. "127.0.0.1" (int (:port target)))]
                                 (peer/send! conn "HTTP/1.1 200 Connected\r\n\r\n")
                                 (future (.transferTo (.getInputStream through) ^java.io.OutputStream (:out conn)))
                                 (.transferTo ^java.io.InputStream (:in conn) (.getOutputStream through))))]
        (let [opts {:proxy-url (:url proxy) :proxy-tunnel? true}]
          (doseq [args [[] ["-Dhttp-kit.client.tls=java"]]]
            (is (= "ok0" (in-jvm (into (certs/jvm-args nil) args) (outcome (certs/https-url target "/") opts)))))
          (is (= (repeat 2 (str "CONNECT localhost:" (:port target) " HTTP/1.1")) @seen)))))))

(deftest a-proxy-forges-no-response-ahead-of-the-handshake
  (with-tls-peer [target (localhost-key)]
    (peer/with-peer [proxy (fn [conn]
                             (peer/read-head! conn)
                             (let [through (java.net.Socket. "127.0.0.1" (int (:port target)))]
                               (peer/send! conn "HTTP/1.1 200 Connected\r\n\r\n"
                                           "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
                               (future (.transferTo (.getInputStream through) ^java.io.OutputStream (:out conn)))
                               (.transferTo ^java.io.InputStream (:in conn) (.getOutputStream through))))]
      (let [java-way (via-engine)]
        (doseq [c [@client/default-client java-way]]
          (let [{:keys [body error]} @(client/get (certs/https-url target "/")
                                                  {:client c :insecure? true :proxy-url (:url proxy) :proxy-tunnel? true})]
            (is (nil? body))
            (is (instance? SSLException error) (str error))))
        (client/client-stop! java-way)))
    (is (empty? @(:requests target)))))

(deftest https-proxies
  (with-tls-peer [proxy (localhost-key)]
    (let [via     {:proxy-url (certs/https-url proxy "") :insecure? true}
          java-way (via-engine)]
      (doseq [opts [via (assoc via :client java-way)]]
        (is (= "ok0" (:body @(client/get "http://t.test/a?b" opts))))
        (is (= "GET http://t.test/a?b HTTP/1.1" (:line (last @(:requests proxy))))))
      (testing "a tunnel through one needs the built-in TLS"
        (is (instance? org.httpkit.ProtocolException
                       (:error @(client/get "https://t.test/" (assoc via :client java-way :proxy-tunnel? true))))))
      (client/client-stop! java-way)))
  (testing "TLS inside of TLS"
    (with-tls-peer [target (localhost-key)]
      (peer/with-peer [proxy (fn [conn]
                               (peer/read-head! conn)
                               (let [through (java.net.Socket. "127.0.0.1" (int (:port target)))]
                                 (peer/send! conn "HTTP/1.1 200 Connected\r\n\r\n")
                                 (future (.transferTo (.getInputStream through) ^java.io.OutputStream (:out conn)))
                                 (.transferTo ^java.io.InputStream (:in conn) (.getOutputStream through))))
                       :server (certs/server-socket (localhost-key))]
        (is (= "ok3" (:body @(client/post (certs/https-url target "/")
                                          {:proxy-url (certs/https-url proxy "") :proxy-tunnel? true
                                           :insecure? true :body "abc"}))))))))

(deftest the-host-is-indicated-to-the-server
  (let [names (fn [{:keys [^SSLSocket socket]}]
                (.startHandshake socket)
                (mapv #(.getAsciiName ^SNIHostName %)
                      (.getRequestedServerNames ^ExtendedSSLSession (.getSession socket))))]
    (peer/with-peer [p (fn [conn]
                         (let [indicated (names conn)]
                           (peer/read-request! conn)
                           (peer/respond! conn (pr-str indicated))))
                     :server (certs/server-socket (localhost-key))]
      (let [java-way (via-engine)]
        (doseq [c [client/insecure-client client/legacy-client java-way]]
          (is (= "[\"localhost\"]" (:body @(client/get (certs/https-url p "/") {:client c :insecure? true :keepalive 0}))))
          (is (= "[]" (:body @(client/get (str "https://127.0.0.1:" (:port p) "/")
                                          {:client c :insecure? true :keepalive 0})))))
        (client/client-stop! java-way)))))

(deftest the-default-context-is-captured-once
  (is (identical? (HttpClient/getDefaultContext) (HttpClient/getDefaultContext)))
  (is (instance? HttpClient$SSLEngineURIConfigurer HttpClient$SSLEngineURIConfigurer/NOP)))
