(ns httpkit.client-names-test
  "URLs whose host java.net.URI sees no host in, such as Docker's my_svc; and redirects to any."
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.client-certs :as certs]
            [httpkit.client-peer :as peer]
            [httpkit.subprocess :as subprocess]
            [org.httpkit.client :as client]
            [org.httpkit.sni-client :as sni-client])
  (:import [java.io File]
           [java.net InetSocketAddress UnknownHostException]
           [javax.net.ssl ExtendedSSLSession SNIHostName SSLSocket]))

(def ^:private ok (peer/answering (fn [{:keys [line]}] line)))

(defn- loopback-client
  "A client for which every name is that of the loopback address."
  [& [opts]]
  (client/make-client (assoc opts :address-finder
                             (fn [^java.net.URI uri]
                               (InetSocketAddress. "127.0.0.1" (Integer/parseInt (re-find #"\d+$" (.getRawAuthority uri))))))))

(defmacro ^:private with-client [[c opts] & body]
  `(let [~c (loopback-client ~opts)]
     (try ~@body (finally (client/client-stop! ~c)))))

(deftest hosts-with-underscores-are-asked
  (peer/with-peer [p ok]
    (with-client [c]
      (dotimes [_ 2]
        (is (= "GET /a_b HTTP/1.1" (:body @(client/get (str "http://u:p@my_svc:" (:port p) "/a_b") {:client c})))))
      (is (= (repeat 2 (str "my_svc:" (:port p))) (map #(peer/header % "host") @(:requests p))))
      (is (= 1 (count @(:sockets p))))
      (testing "another name is another host"
        (is (= 200 (:status @(client/get (str "http://-my-svc-.1st:" (:port p)) {:client c}))))
        (is (= 2 (count @(:sockets p))))))))

(deftest proxies-may-have-underscores-in-their-names
  (peer/with-peer [p ok]
    (with-client [c]
      (is (= "GET http://t_t.test/ HTTP/1.1"
             (:body @(client/get "http://t_t.test/" {:client c :proxy-url (str "http://us%65r:p%40ss@my_proxy:" (:port p))}))))
      (is (= "Basic dXNlcjpwQHNz" (peer/header (first @(:requests p)) "proxy-authorization")))))
  (peer/with-peer [p (fn [conn]
                       (let [connect (:line (peer/read-head! conn))]
                         (peer/send! conn "HTTP/1.1 200 X\r\n\r\n")
                         ((peer/answering (constantly connect)) conn)))]
    (with-client [c]
      (is (= "CONNECT my_svc:80 HTTP/1.1"
             (:body @(client/get "http://my_svc/" {:client c :proxy-tunnel? true
                                                   :proxy-url (str "http://my_proxy:" (:port p))})))))))

(defn- in-jvm
  "Value of the form in a JVM whose resolver knows only the names of this file."
  [hosts form]
  (let [file (doto (File/createTempFile "client-names" ".hosts") (.deleteOnExit) (spit hosts))
        {:keys [out exit]} (subprocess/run
                            (str "(require '[org.httpkit.client :as client])"
                                 "(println) (prn " (pr-str form) ") (flush) (System/exit 0)")
                            :jvm-args (cond-> [(str "-Djdk.net.hosts.file=" file)]
                                        (System/getProperty "http-kit.native.path")
                                        (conj (str "-Dhttp-kit.native.path=" (System/getProperty "http-kit.native.path")))))]
    (is (zero? exit) out)
    (edn/read-string (last (str/split-lines out)))))

(deftest names-with-underscores-are-resolved
  (peer/with-peer [p ok]
    (is (= ["GET / HTTP/1.1" IllegalArgumentException UnknownHostException true UnknownHostException]
           (map #(if (symbol? %) (resolve %) %)
                (in-jvm "127.0.0.1 my_svc\n"
                        `(let [error# (fn [url#] (:error @(client/get url#)))]
                           [(:body @(client/get ~(str "http://my_svc:" (:port p) "/")))
                            (class (error# "http://your_svc:1/"))
                            (class (first (.getSuppressed (error# "http://your_svc:1/"))))
                            (.contains (ex-message (error# "http://your_svc:1/")) "your_svc")
                            (class (error# "http://your-svc:1/"))])))))))

(deftest names-with-underscores-are-not-indicated-to-tls-servers
  (let [names (fn [{:keys [^SSLSocket socket]}]
                (.startHandshake socket)
                (mapv #(.getAsciiName ^SNIHostName %)
                      (.getRequestedServerNames ^ExtendedSSLSession (.getSession socket))))]
    (peer/with-peer [p (fn [conn]
                         (let [indicated (names conn)]
                           (peer/read-request! conn)
                           (peer/respond! conn (pr-str indicated))))
                     :server (certs/server-socket (certs/signed "localhost" "dns:localhost"))]
      (doseq [opts [nil {:ssl-configurer (fn [engine uri] (sni-client/ssl-configurer engine uri))}]]
        (with-client [c opts]
          (is (= "[]"
                 (:body @(client/get (str "https://my_svc:" (:port p) "/") {:client c :insecure? true})))))))))

(deftest redirects-in-raw-utf-8-are-asked-for-as-they-are
  (peer/with-peer [p (peer/answering
                      (fn [{:keys [line]}]
                        (if (str/starts-with? line "GET / ")
                          (str "HTTP/1.1 302 X\r\nLocation: "
                               (String. (.getBytes "/f\u00fc?\u2603" "UTF-8") "ISO-8859-1")
                               "\r\nContent-Length: 0\r\n\r\n")
                          line)))]
    (let [{:keys [body opts]} @(client/get (:url p))]
      (is (= "GET /f%C3%BC?%E2%98%83 HTTP/1.1" body))
      (is (= (str (:url p) "/f%C3%BC?%E2%98%83") (:url opts))))))
