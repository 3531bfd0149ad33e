(ns httpkit.class-loaders-test
  "Class loaders that come and go, and threads that race to be the first: what applications that are reloaded do."
  (:require [clojure.edn         :as edn]
            [clojure.java.io     :as io]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.files       :as files]
            [httpkit.loading     :as loading]
            [httpkit.subprocess  :as subprocess]
            [httpkit.tls-certs   :as certs]
            [httpkit.wire        :as wire]
            [org.httpkit.client  :as client])
  (:import (java.lang.ref WeakReference)
           (java.lang.reflect InvocationHandler Method Proxy)
           (java.net URL URLClassLoader)
           (java.util.concurrent ThreadPoolExecutor)))

(set! *warn-on-reflection* true)

(deftest the-first-server-and-the-first-client-on-two-threads-never-wait-for-each-other
  (let [lags     (map #(+ 5 (mod (* 7 %) 36)) (range 20))
        outcomes (for [batch (partition-all 4 lags)
                       :let  [started (mapv #(loading/start ["race" %]) batch)]
                       [lag process] (map vector batch started)]
                   [lag (:out (subprocess/finish process))])]
    (doseq [[lag outcome] outcomes]
      (is (= "made made" outcome) (str lag " ms apart")))))

(defn- reloads [n one-thread? dir]
  (edn/read-string (last (loading/run ["reloads" n one-thread?] :jvm-args [(str "-Dhttp-kit.native.dir=" dir)]))))

(deftest a-class-loader-that-used-the-library-is-collected-and-leaves-nothing-behind
  (files/with-temporary-directory dir
    (let [{:keys [alive mapped metaspace-growth]} (reloads 8 false dir)]
      (is (zero? alive))
      (is (>= 1 mapped) "images of the library")
      (is (> 2000000 metaspace-growth) "bytes: less than one loader's classes")
      (is (= 1 (count (loading/names dir))) "files on disk"))))

(deftest reloading-on-one-thread-does-not-add-up
  ;; The C library keeps an image while a thread lives that has called it, so the names of collected loaders are used
  ;; again. A few: a loader may be collected only after its successor has looked for a name.
  (files/with-temporary-directory dir
    (let [{:keys [alive mapped]} (reloads 8 true dir)]
      (is (zero? alive))
      (is (>= 4 mapped) "images of the library")
      (is (= 1 (count (loading/names dir))) "files on disk"))))

(deftest class-loaders-that-live-together-have-a-copy-each-and-one-file-stays
  (files/with-temporary-directory dir
    (let [files (butlast (loading/run ["loaders" 4] :jvm-args [(str "-Dhttp-kit.native.dir=" dir)]))]
      (is (= 4 (count (set files))) (pr-str files))
      (is (every? #(= (str dir) (.getParent (io/file %))) files) "all in the first one's directory")
      (is (= [(.getName (io/file (first files)))] (loading/names dir))))))

(deftest a-named-file-is-loaded-by-every-class-loader
  (files/with-temporary-directory dir
    (let [file   (str (io/file dir "mine.so"))
          cached (first (loading/run ["report"] :jvm-args [(str "-Dhttp-kit.native.dir=" dir)]))]
      (io/copy (io/file cached) (io/file file))
      (let [files (butlast (loading/run ["loaders" 3] :jvm-args [(str "-Dhttp-kit.native.path=" file)
                                                                 (str "-Dhttp-kit.native.dir=" dir)]))]
        (is (= file (first files)))
        (is (= 3 (count (set files))))
        (is (every? #(.isAbsolute (io/file ^String %)) files) "none is a failure's text")))))

(defn- new-loader ^URLClassLoader []
  (URLClassLoader. (into-array URL (map #(.toURL (.toURI (io/file ^String %)))
                                        (str/split (System/getProperty "java.class.path") #":")))
                   (ClassLoader/getPlatformClassLoader)))

(defn- in-new-loader
  "Value of the program `text`, as a string, run by a Clojure of its own on a thread of its own; and its class loader."
  [text]
  (let [loader (new-loader)
        result (promise)
        body   (fn []
                 (deliver result
                   (try
                     (let [api  (Class/forName "clojure.java.api.Clojure" true loader)
                           find (.getMethod api "var" (into-array Class [Object Object]))
                           run  (.invoke find nil (object-array ["clojure.core" "load-string"]))]
                       (str (.invoke (.getMethod (class run) "invoke" (into-array Class [Object]))
                                     run (object-array [text]))))
                     (catch Throwable t (str t)))))]
    (doto (Thread. ^Runnable body)
      (.setContextClassLoader loader)
      (.start)
      (.join))
    (.close loader)
    [@result (WeakReference. loader)]))

(defn- everything
  "A program that uses servers, one of them over TLS with files that are looked at, and a client."
  []
  (str "(require '[org.httpkit.server :as server] '[org.httpkit.client :as client])
   (let [handler (fn [req]
                   (if (= \"/stream\" (:uri req))
                     (server/as-channel req {:on-open (fn [ch] (server/send! ch \"a\" false) (server/send! ch \"b\" true))})
                     {:status 200 :body (java.io.ByteArrayInputStream. (byte-array 300000))}))
         pool    (java.util.concurrent.Executors/newSingleThreadExecutor)
         servers (for [options [{} {:worker-pool pool} {:ssl-port 0 :http? false :keystore " (pr-str (certs/path "server.p12")) " :key-password " (pr-str certs/password) " :keystore-scan-interval 1}]]
                   (server/run-server handler (merge {:port 0 :ip \"127.0.0.1\"} options)))
         user    (client/make-client {})]
     (try
       (pr-str
         (for [stop servers :let [{:keys [local-port ssl-port]} (meta stop)
                                  url (str (if ssl-port \"https\" \"http\") \"://127.0.0.1:\" local-port)
                                  ask (fn [path as] (:body @(client/get (str url path) {:client user :worker-pool pool :as as :insecure? true})))]]
           [(count (ask \"/\" :byte-array)) (slurp (ask \"/stream\" :stream))]))
       (finally
         (run! #(%) servers)
         (.stop user)
         (.shutdown pool)
         (shutdown-agents))))"))

(deftest an-applications-class-loader-is-collected-once-its-servers-and-clients-are-stopped
  (let [[result ^WeakReference loader] (in-new-loader (everything))]
    (is (= (pr-str (repeat 3 [300000 "ab"])) result))
    ;; The threads of uploads, listeners and the like wait 10 s for more work.
    (is (wire/eventually 40000 #(do (System/gc) (nil? (.get loader)))))))

(defn- refused-in-new-loader
  "What a listener is told of a request on a stopped client, made by this thread, which lives on; and the class loader."
  []
  (let [loader   (new-loader)
        named    #(Class/forName (str "org.httpkit.client." %) true loader)
        made     (fn [^Class c] (.newInstance (.getConstructor c (make-array Class 0)) (object-array 0)))
        listener (named "IRespListener")
        told     (promise)
        client   (made (named "HttpClient"))
        methods  (into {} (map (juxt #(.getName ^Method %) identity)) (.getMethods (class client)))
        proxied  (Proxy/newProxyInstance loader (into-array Class [listener])
                   (reify InvocationHandler
                     (invoke [_ _ method args]
                       (when (= "onThrowable" (.getName method)) (deliver told (str (first args)))))))]
    (.invoke ^Method (methods "stop") client (object-array 0))
    (.invoke ^Method (methods "exec") client
             (object-array ["http://127.0.0.1:1/" (made (named "RequestConfig")) nil proxied]))
    (.close loader)
    [(deref told wire/patience-ms :nothing) (WeakReference. loader)]))

(deftest a-request-on-a-stopped-client-leaves-no-class-loader-to-its-thread
  (let [[told ^WeakReference loader] (refused-in-new-loader)]
    (is (str/includes? told "stopped"))
    (is (wire/eventually 40000 #(do (System/gc) (nil? (.get loader)))))))

(deftest the-clients-own-workers-end-when-there-is-nothing-to-do
  (let [{:keys [type pool]} @client/default-worker_]
    (when (= :fixed type)
      (is (.allowsCoreThreadTimeOut ^ThreadPoolExecutor pool)))))
