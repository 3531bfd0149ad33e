(ns httpkit.client-options-test
  "What `make-client` takes: addresses, channels, limits."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client :as client]
            [org.httpkit.utils :as utils])
  (:import [java.io IOException]
           [java.net ConnectException InetAddress InetSocketAddress Socket SocketAddress URI]
           [java.nio ByteBuffer]
           [java.nio.channels ServerSocketChannel SocketChannel UnresolvedAddressException
            UnsupportedAddressTypeException]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]))

(def ^:private ok (peer/answering (fn [{:keys [body]}] (str "ok" (count body)))))

(defmacro ^:private with-client [[c opts] & body]
  `(let [~c (client/make-client ~opts)]
     (try ~@body (finally (client/client-stop! ~c)))))

(defn- address [p] (InetSocketAddress. "127.0.0.1" (int (:port p))))

(deftest the-address-finder-is-asked-once-per-request
  (peer/with-peer [p ok]
    (let [calls (atom [])
          me    (Thread/currentThread)]
      (with-client [c {:address-finder (fn [uri] (swap! calls conj [uri (Thread/currentThread)]) (address p))}]
        (dotimes [_ 2] (is (= "ok0" (:body @(client/get "http://a.test:1/x?y" {:client c})))))
        (is (= "ok0" (:body @(client/get "http://a.test/" {:client c :proxy-url "http://proxy.test:3128"}))))
        (is (= [(URI. "http://a.test:1/x?y") (URI. "http://a.test:1/x?y") (URI. "http://proxy.test:3128")]
               (map first @calls)))
        (is (every? #(identical? me %) (map second @calls)) "on the caller's thread")
        (is (= 2 (count @(:sockets p))) "one connection for the host, one for the proxy")))))

(deftest failures-of-the-address-finder-are-delivered
  (let [boom (IOException. "no")]
    (with-client [c {:address-finder (fn [_] (throw boom))}]
      (is (identical? boom (:error @(client/get "http://a.test/" {:client c}))))))
  (doseq [boom [(AssertionError. "no") (StackOverflowError. "no") (IOException. "no") (IllegalStateException. "no")
                (Throwable. "no")]
          opts [{} {:deadline 10000}]]
    (with-client [c {:address-finder (fn [_] (throw boom))}]
      (is (identical? boom (:error @(client/get "http://a.test/" (assoc opts :client c)))) [boom opts])))
  (with-client [c {:address-finder 5}]
    (is (= ClassCastException (class (:error @(client/get "http://a.test/" {:client c}))))))
  (with-client [c {:address-finder (fn [_] (InetSocketAddress/createUnresolved "a.test" 80))}]
    (let [{:keys [error]} @(client/get "http://a.test/" {:client c})]
      (is (= UnresolvedAddressException (class error)))
      (is (str/includes? (ex-message (ex-cause error)) "a.test"))))
  (with-client [c {:address-finder (fn [_] (proxy [SocketAddress] [] (toString [] "elsewhere")))}]
    (let [{:keys [error]} @(client/get "http://a.test/" {:client c})]
      (is (= UnsupportedAddressTypeException (class error)))
      (is (str/includes? (ex-message (ex-cause error)) "elsewhere")))))

(deftest addresses-that-are-names-are-the-channel-factorys-to-connect
  (let [name  (InetSocketAddress/createUnresolved "hidden.test" 81)
        asked (atom [])]
    (peer/with-peer [p ok]
      (with-client [c {:address-finder  (fn [_] name)
                       :channel-factory (fn [a] (swap! asked conj a) (SocketChannel/open ^SocketAddress (address p)))}]
        (dotimes [_ 3] (is (= "ok0" (:body @(client/get "http://a.test/" {:client c})))))
        (is (= [name] @asked) "once per connection, with the name as it is")))
    (testing "and fail, closed, where its channel cannot"
      (let [made (atom nil)]
        (with-client [c {:address-finder  (fn [_] name)
                         :channel-factory (fn [_] (reset! made (SocketChannel/open)))}]
          (is (= UnresolvedAddressException (class (:error @(client/get "http://a.test/" {:client c})))))
          (is (false? (.isOpen ^SocketChannel @made))))))))

(deftest the-channel-factory-makes-every-connection
  (peer/with-peer [p ok]
    (let [calls (atom [])]
      (with-client [c {:address-finder  (fn [uri] (swap! calls conj :uri) (address p))
                       :channel-factory (fn [a] (swap! calls conj [:address a]) (SocketChannel/open))}]
        (dotimes [_ 2]
          (is (= "ok0" (:body @(client/get "http://a.test/" {:client c :keepalive 0})))))
        (is (= [:uri [:address (address p)] :uri [:address (address p)]] @calls))
        (dotimes [_ 3]
          (is (= "ok0" (:body @(client/get "http://a.test/" {:client c})))))
        (is (= 8 (count @calls)) "kept-alive connections need no channel")
        (is (= 3 (:java-hosted (client/client-stats c))))
        (testing "large bodies both ways"
          (is (= "ok2000000" (:body @(client/post "http://a.test/" {:client c :body (byte-array 2000000 (byte 97))}))))
          (peer/with-peer [q (peer/answering (fn [_] (apply str (repeat 2000000 "y"))))]
            (with-client [d {:channel-factory (fn [_] (SocketChannel/open))}]
              (is (= 2000000 (count (:body @(client/get (:url q) {:client d}))))))))))))

(deftest channels-are-closed-before-the-failure-is-told
  (let [channels (atom [])
        make     (fn [_] (let [ch (SocketChannel/open)] (swap! channels conj ch) ch))]
    (with-client [c {:channel-factory make}]
      (let [open? @(client/get "http://127.0.0.1:1/" {:client c}
                               (fn [{:keys [error]}]
                                 (is (= ConnectException (class error)))
                                 (.isOpen ^SocketChannel (first @channels))))]
        (is (false? open?)))
      (peer/with-peer [p (fn [conn] (peer/read-request! conn) (peer/close! conn))]
        (is (false? @(client/get (:url p) {:client c}
                                 (fn [{:keys [error]}]
                                   (is (some? error))
                                   (.isOpen ^SocketChannel (last @channels))))))))
    (testing "a factory that throws"
      (let [boom (IOException. "no channel")]
        (with-client [c {:channel-factory (fn [_] (throw boom))}]
          (is (identical? boom (:error @(client/get "http://127.0.0.1:1/" {:client c})))))))
    (testing "a factory that hangs: the connect timeout counts"
      (with-client [c {:channel-factory (fn [_] (Thread/sleep 3000) (SocketChannel/open))}]
        (is (= "connect timeout: 100ms"
               (ex-message (:error @(client/get "http://127.0.0.1:1/" {:client c :timeout 100})))))))))

(deftest connections-are-bound-to-the-bind-address
  (doseq [opts [{} {:channel-factory (fn [_] (SocketChannel/open))}]]
    (let [from (atom nil)]
      (peer/with-peer [p (fn [conn]
                           (reset! from (.getInetAddress ^Socket (:socket conn)))
                           (ok conn))]
        (with-client [c (assoc opts :bind-address (InetSocketAddress. "127.0.0.2" 0))]
          (is (= "ok0" (:body @(client/get (:url p) {:client c}))))
          (is (= (InetAddress/getByName "127.0.0.2") @from)))))))

(deftest unresolved-bind-addresses-are-refused
  (is (thrown-with-msg? IllegalArgumentException #"nowhere.test"
                        (client/make-client {:bind-address (InetSocketAddress/createUnresolved "nowhere.test" 0)}))))

(deftest connections-in-total-are-bounded
  (peer/with-peer [p (peer/answering (fn [_] (Thread/sleep 20) "ok"))]
    (with-client [c {:max-connections 2}]
      (let [results (doall (repeatedly 8 #(client/get (:url p) {:client c})))]
        (is (every? #(= "ok" (:body (deref % 10000 nil))) results))
        (is (<= (count @(:sockets p)) 2))))))

(defn- unix-address [path]
  (clojure.lang.Reflector/invokeStaticMethod "java.net.UnixDomainSocketAddress" "of" (object-array [(str path)])))

(defn- unix-family []
  (java.net.StandardProtocolFamily/valueOf "UNIX"))

(defn- open-unix [^Class channel-class]
  (-> (.getMethod channel-class "open" (into-array Class [java.net.ProtocolFamily]))
      (.invoke nil (object-array [(unix-family)]))))

(deftest unix-domain-sockets
  (when (utils/java-version>= 16)
    (let [dir    (Files/createTempDirectory "uds" (make-array FileAttribute 0))
          path   (.resolve dir "s")
          server ^ServerSocketChannel (open-unix ServerSocketChannel)
          conns  (atom 0)]
      (.bind server ^SocketAddress (unix-address path))
      (doto (Thread. (fn []
                       (try
                         (while true
                           (let [ch (.accept server)]
                             (swap! conns inc)
                             (future
                               (let [buffer (ByteBuffer/allocate 65536)]
                                 (while (pos? (.read ch buffer))
                                   (when (str/ends-with? (String. (.array buffer) 0 (.position buffer)) "\r\n\r\n")
                                     (.clear buffer)
                                     (.write ch (ByteBuffer/wrap (peer/latin1 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok")))))))))
                         (catch IOException _)))) ; the server is closed
        (.setDaemon true)
        (.start))
      (with-client [c {:address-finder  (fn [_] (unix-address path))
                       :channel-factory (fn [_] (open-unix SocketChannel))}]
        (dotimes [_ 3] (is (= "ok" (:body @(client/get "http://unix.test/" {:client c})))))
        (is (= 1 @conns) "kept alive"))
      (testing "need their channel factory"
        (with-client [c {:address-finder (fn [_] (unix-address path))}]
          (is (= UnsupportedAddressTypeException (class (:error @(client/get "http://unix.test/" {:client c})))))))
      (.close server)
      (Files/delete path)
      (Files/delete dir))))
