(ns ^:newest-jdk httpkit.tls-reload-test
  "New certificates come into use without a stop."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.tls-certs  :as certs]
            [httpkit.tls-wire   :as tls]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.nio.file Files Path)
           (java.nio.file.attribute FileTime)
           (org.httpkit.server HttpServer)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(def ^:private interval "Seconds, the shortest." 1)

(defn- pem-in [folder]
  {:cert (str (io/file folder "tls.pem")) :key (str (io/file folder "tls.key"))})

(defn- first-name [port]
  (first (tls/server-names port nil)))

(defmacro ^:private with-reloading
  "Runs `body` with a TLS server whose certificate is in `folder`, at first that of `server`."
  [[binding folder options] & body]
  `(let [~folder (files/temporary-directory)]
     (certs/put! ~folder "server")
     (wire/with-server [server# ok (merge {:ssl-port 0 :tls (pem-in ~folder) :keystore-scan-interval interval} ~options)]
       (let [~binding (assoc server# :ssl-port (server/server-ssl-port (:server server#)))]
         ~@body))))

(defn- load-of
  "Calls `f` again and again on some threads; returns a function that ends that and returns {:done n :failed [...]}."
  [f]
  (let [running (atom true)
        done    (atom 0)
        failed  (atom [])
        workers (doall (for [_ (range 4)]
                         (future (while @running
                                   (try (f) (swap! done inc)
                                        (catch Throwable t (swap! failed conj (str t))))))))]
    (fn []
      (reset! running false)
      (run! deref workers)
      {:done @done :failed @failed})))

(defn- request-on-a-new-connection [port names]
  (with-open [conn (tls/connect port)]
    (swap! names conj (-> conn :socket ((fn [^javax.net.ssl.SSLSocket s] (.getPeerPrincipal (.getSession s)))) str))
    (wire/send! conn (wire/get-request "/"))
    (let [answer (wire/answer conn)]
      (when-not (= 200 (:status answer))
        (throw (ex-info "no response" {:answer answer}))))))

(deftest files-that-are-renamed-into-place-are-used-without-a-failed-request
  (with-reloading [{:keys [ssl-port events errors]} folder {}]
    (let [names (atom #{})
          end   (load-of #(request-on-a-new-connection ssl-port names))]
      (doseq [[name shown] [["other" "other.test"] ["server" "localhost"] ["other" "other.test"]]]
        (certs/put! folder name)
        (is (wire/eventually #(= shown (first-name ssl-port))) name))
      (let [{:keys [done failed]} (end)]
        (is (= [] failed))
        (is (< 10 done)))
      (is (= #{"CN=server" "CN=other"} @names))
      (is (<= 3 (count (filter #{"httpkit.server.tls.reload"} @events))))
      ;; A look may fall between the two renames: then the key does not belong to the certificate, for one interval.
      (is (every? #(str/includes? (first %) "does not belong to the certificate") @errors)))))

(deftest a-symbolic-link-that-is-swapped-is-noticed
  (let [[folder swap!!] (certs/linking)]
    (wire/with-server [{:keys [server errors]} ok {:ssl-port 0 :tls (pem-in folder) :keystore-scan-interval interval}]
      (let [port  (server/server-ssl-port server)
            names (atom #{})
            end   (load-of #(request-on-a-new-connection port names))]
        (is (= "localhost" (first-name port)))
        (swap!! "other")
        (is (wire/eventually #(= "other.test" (first-name port))))
        (is (= [] (:failed (end))))
        (is (= [] @errors) "both files change at once")))))

(deftest a-key-store-that-changes-is-read-again
  (let [store (io/file (files/temporary-directory) "store.p12")]
    (certs/replace-file! (certs/path "server.p12") store)
    (wire/with-server [{:keys [server]} ok {:ssl-port 0 :keystore store :key-password certs/password :keystore-scan-interval interval}]
      (let [port (server/server-ssl-port server)]
        (is (= "localhost" (first-name port)))
        (certs/replace-file! (certs/path "other.p12") store)
        (is (wire/eventually #(= "other.test" (first-name port))))))))

(defn- write-with-time!
  "Writes `text` into the file that is there, with this modification time: its look stays the same."
  [file ^String text time]
  (spit file text)
  (Files/setLastModifiedTime (.toPath (io/file file)) time))

(deftest a-file-that-could-not-be-read-is-tried-again-though-it-looks-the-same
  (let [folder (files/temporary-directory)
        both   (str (slurp (certs/path "other.key")) (slurp (certs/path "other.pem")))
        file   (io/file folder "both.pem")]
    (spit file (str (slurp (certs/path "server.key")) (slurp (certs/path "server.pem"))))
    (wire/with-server [{:keys [server errors]} ok {:ssl-port 0 :tls {:cert file :key file} :keystore-scan-interval interval}]
      (let [port (server/server-ssl-port server)
            time (FileTime/fromMillis 1700000000000)]
        (write-with-time! file (apply str (repeat (count both) "x")) time)
        (is (wire/eventually #(seq @errors)))
        (is (= "localhost" (first-name port)))
        (write-with-time! file both time)
        (is (wire/eventually #(= "other.test" (first-name port))))
        (is (= 1 (count @errors)))))))

(deftest files-that-cannot-be-used-leave-the-old-in-use-and-are-logged-once
  (with-reloading [{:keys [ssl-port errors server]} folder {}]
    (let [{:keys [cert key]} (pem-in folder)
          log     #(mapv first @errors)
          message (str "TLS material was not reloaded, the old stays in use: :tls :key \"" key
                       "\" does not belong to the certificate in \"" cert "\"")]
      (certs/replace-file! (certs/path "other.pem") cert)
      (is (wire/eventually #(seq (log))))
      (is (= [message] (log)))
      ;; Two more looks.
      (Thread/sleep (long (* 2100 interval)))
      (is (= [message] (log)) "once for each change")
      (is (= "localhost" (first-name ssl-port)))
      (testing "a reload by hand throws the same"
        (is (= [IllegalArgumentException (subs message (count "TLS material was not reloaded, the old stays in use: "))]
               (try (server/server-reload-tls! server) (catch Throwable t [(class t) (ex-message t)])))))
      (certs/replace-file! (certs/path "other.key") key)
      (is (wire/eventually #(= "other.test" (first-name ssl-port))) "what is mended is used")
      (io/delete-file key)
      (is (wire/eventually #(= 2 (count (log)))))
      (is (str/includes? (peek (log)) (str ":tls :key \"" key "\": no such file")))
      (is (= "other.test" (first-name ssl-port))))))

(deftest what-breaks-again-in-the-same-way-is-logged-again
  (with-reloading [{:keys [errors]} folder {}]
    (let [key  (io/file folder "tls.key")
          away (io/file folder "away.key")]
      (is (.renameTo key away))
      (is (wire/eventually #(= 1 (count @errors))))
      (is (wire/eventually (fn []
                             ;; Nothing tells when the server has looked.
                             (doseq [[^java.io.File from to] [[away key] [key away]]]
                               (.renameTo from to)
                               (Thread/sleep (long (* 1500 interval))))
                             (= 2 (count @errors))))))))

(deftest a-reload-by-hand-says-what-is-in-use
  (with-reloading [{:keys [ssl-port server events]} folder {:keystore-scan-interval nil}]
    (certs/put! folder "other")
    (is (= "localhost" (first-name ssl-port)))
    (let [{[{:keys [subject names not-after]} & more] :certificates} (server/server-reload-tls! server)]
      (is (= ["CN=other" ["other.test"] nil] [subject names more]))
      (is (inst? not-after))
      (is (.before (java.util.Date.) not-after)))
    (is (= "other.test" (first-name ssl-port)))
    (is (some #{"httpkit.server.tls.reload"} @events))))

(deftest connections-that-are-open-stay
  (with-reloading [{:keys [ssl-port server]} folder {}]
    (with-open [conn (tls/connect ssl-port)]
      (certs/put! folder "other")
      (server/server-reload-tls! server)
      (wire/send! conn (wire/get-request "/"))
      (is (= 200 (:status (wire/answer conn)))))))

(deftest authorities-of-clients-are-reloaded-too
  (let [ca (io/file (files/temporary-directory) "ca.pem")]
    (certs/replace-file! (certs/path "stranger.pem") ca)
    (wire/with-server [{:keys [server]} ok {:ssl-port 0 :client-auth :need :tls (assoc (certs/pem "server") :ca ca)}]
      (let [port   (server/server-ssl-port server)
            client {:context (certs/context "client.p12")}]
        (is (= :refused (tls/fetch port "/" client)))
        (certs/replace-file! (certs/path "ca.pem") ca)
        (server/server-reload-tls! server)
        (is (= 200 (:status (tls/fetch port "/" client))))))))

(defn- watchers []
  (count (filter #(= "http-kit-server-tls" (.getName ^Thread %)) (keys (Thread/getAllStackTraces)))))

(deftest the-thread-that-looks-at-files-ends-with-its-server
  (is (wire/eventually #(zero? (watchers))))
  (with-reloading [_ folder {}]
    (is (= 1 (watchers))))
  (is (wire/eventually #(zero? (watchers))))
  (testing "where there is nothing to look at, there is none"
    (doseq [options [{:keystore-scan-interval nil :tls (certs/pem "server")}
                     {:keystore-scan-interval 0 :tls (certs/pem "server")}
                     {:keystore (certs/load-store "server.p12") :key-password certs/password}]]
      (wire/with-server [_ ok (assoc options :ssl-port 0)]
        (is (zero? (watchers)) (pr-str (keys options)))))
    (wire/with-server [_ ok {}]
      (is (zero? (watchers))))))
